"""The gateway of ``twistd aibridge``: the parts that its configuration asks for, and the ports they listen on."""

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Protocol

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from ..config.checks import config_warnings
from ..config.endpoints import OFF
from ..config.model import Config
from ..costs.calculator import Prices
from ..errors import AIBridgeError, ConfigError
from ..http.server import GatewaySite
from ..http.server_tls import ServerCertificate
from ..http.sockets import sending_at_once
from ..providers import USUAL_TYPES
from ..providers.base import Provider
from .assembly import Parts, assemble, configured_prices
from .banner import announce
from .changes import Changes, compare
from .gateway import GatewayService, Reloads, StopSteps, start_or_fail

_log = Logger()


class Demo(Protocol):
    """The demo provider. Its module is not imported here, since the test doubles come with it, and twisted.trial."""

    def start(self) -> "Deferred[str]":
        """Fires with the provider's URL."""

    def stop(self) -> object:
        """Stop it."""


class StandaloneGateway(Service):
    """The gateway of a process of its own. Nothing listens before everything behind the port is ready.

    :param on_failure: called with the reason, one line, if the gateway can't start.
    :param demo: started first, and used in place of the configured providers.
    :param sockets: the reactor for endpoints of a worker, which has its socket from the parent. The parent has the
        operator's site, and announces what listens where.
    :param on_start: called as the start begins; it may take until database and MCP servers are reached.
    :param on_started: called when requests can be served.
    :param read_config: reads the configuration again, for `reload`. It is called in a thread.
    :param on_reload: called with each configuration that was read again and is in use now.
    """

    def __init__(
        self,
        config: Config,
        *,
        reactor: Any,
        on_failure: Callable[[str], None],
        demo: Demo | None = None,
        assemble: Callable[[Config, Any], Parts] = assemble,
        sockets: Any = None,
        read_config: Callable[[], Config] | None = None,
        on_reload: Callable[[Config], None] = lambda config: None,
        on_start: Callable[[], None] = lambda: None,
        on_started: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        """In use; a new one after a reload."""
        self._reactor = reactor
        self._on_failure = on_failure
        self._demo = demo
        self._demo_url = ""
        self._assemble = assemble
        self._read_config = read_config
        self._on_reload = on_reload
        self._on_start = on_start
        self._on_started = on_started
        self._is_worker = sockets is not None
        self._sockets = sockets or sending_at_once(reactor)
        self.parts: Parts | None = None
        self._gateway: GatewayService | None = None
        self._certificate: ServerCertificate | None = None
        self._hurried = False
        self._listens = False
        self._on_stop = StopSteps()
        self._lock = DeferredLock()  # a stop waits for the start to end
        self._reloads = Reloads(self._reload)

    def startService(self) -> "Deferred[None]":
        """Fires when everything is started, or when `on_failure` was called."""
        super().startService()  # type: ignore[no-untyped-call]
        self._on_start()
        return self._lock.run(self._start)

    def stopService(self) -> "Deferred[None]":
        """Close the ports, then stop the gateway. Fires when that is done."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._gateway is not None:
            if not self._hurried and (count := self._gateway.bridge.in_flight):
                _log.info(
                    "Stopping: {count} requests in flight have {seconds:g} s to end. "
                    "A second SIGTERM or Ctrl-C ends them.",
                    count=count,
                    seconds=self.config.server.drain_seconds,
                )
            self._gateway.stop_connecting()
        return self._lock.run(Deferred.fromCoroutine, self._on_stop.run())

    def reload(self) -> "Deferred[None]":
        """Read the configuration, its files, the prices and the certificate again, and serve with them.

        No connection is lost, and requests in flight end with the settings with which they began. Whatever can't be
        used changes nothing. The log says what was changed, or why nothing was. Fires when that is done.
        """
        return self._reloads.run()

    async def _reload(self) -> None:
        if self.parts is None or self._read_config is None:
            _log.warn("The configuration can't be read again: restart the gateway for other settings.")
            return
        try:
            pool = self._reactor.getThreadPool()
            new, prices = await deferToThreadPool(self._reactor, pool, self._read_again, self._read_config)
            if not self.running:
                return
            changes = compare(self.config, new)
            if self._certificate is not None:
                self._certificate.read()
            await self.parts.reload(changes.config, prices)
        except (AIBridgeError, ValueError) as error:
            _log.error("The configuration is not used, and everything stays as it was: {reason}", reason=str(error))
            return
        except Exception:
            _log.failure("The configuration could not be read again.")
            return
        self.config = changes.config
        self._on_reload(changes.config)
        applied = f"changed: {', '.join(changes.applied)}" if changes.applied else "no setting has changed"
        _log.info("The configuration, its files and the prices are read again; {applied}", applied=applied)
        if not self._is_worker:
            warn_of_changes(changes)

    def _read_again(self, read: Callable[[], Config]) -> tuple[Config, Prices | None]:
        """Read everything that the configuration consists of. Runs in a thread, because it takes up to a second."""
        config = with_demo(read(), self._demo_url)
        if config.mcp.servers:
            import_module("aibridge.tools.mcp_session")  # imports much
        if config.otel is not None:
            import_module("aibridge.tracing.tracer")
        return config, configured_prices(config)

    async def report(self) -> Mapping[str, object]:
        """Return the report of ``/readyz``; before everything listens, the gateway is not ready."""
        if self.parts is None or not self._listens:
            return {"ready": False}
        return await self.parts.report()

    def hurry(self) -> None:
        """Stop without waiting for requests in flight, as `GatewayService.hurry` does."""
        self._hurried = True
        if self._gateway is not None:
            self._gateway.hurry()

    def _start(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(
            start_or_fail(self._start_parts, self._on_stop, self._on_failure, self._on_started)
        )

    async def _start_parts(self) -> None:
        if self._demo is not None:
            self._demo_url = await self._demo.start()
            self._on_stop.add(self._demo.stop)
        config = self.config = with_demo(self.config, self._demo_url)
        parts = self.parts = self._assemble(config, self._reactor)
        self._gateway = parts.gateway
        if self._hurried:
            self._gateway.hurry()
        await self._gateway.startService()
        # What takes time at a stop comes before the gateway's, which refuses requests as soon as the ports are closed.
        if parts.webhook is not None:
            parts.webhook.startService()
            self._on_stop.add(parts.webhook.stopService)
        if (console := parts.console) is not None and not self._is_worker:
            console.start()
            self._on_stop.add(lambda: Deferred.fromCoroutine(console.stop()))
        self._on_stop.add(self._gateway.stopService)
        ports = {
            key: await self._listen(key, getattr(config.server, key), site)
            for key, site in parts.sites.items()
            if getattr(config.server, key) != OFF and not (self._is_worker and key == "admin_listen")
        }
        self._listens = True
        if not self._is_worker:
            log_start(config, {key: port.getHost() for key, port in ports.items()})

    async def _listen(self, key: str, endpoint: str, site: GatewaySite) -> IListeningPort:
        factory: IProtocolFactory = site
        if key == "listen" and (path := self.config.server.tls_certificate):
            self._certificate = ServerCertificate(path, self.config.server.tls_key)
            factory = TLSMemoryBIOFactory(self._certificate, isClient=False, wrappedFactory=site)
        port = await open_port(key, endpoint, factory, self._sockets)
        self._on_stop.add(port.stopListening)
        return port


async def open_port(key: str, endpoint: str, factory: IProtocolFactory, reactor: Any) -> IListeningPort:
    """Listen on the endpoint of that key. Raise ConfigError if that can't be done."""
    try:
        port: IListeningPort = await serverFromString(reactor, with_socket_mode(endpoint)).listen(factory)
    except CannotListenError as error:
        raise ConfigError("can't start", f"server.{key}", str(error).rstrip(".")) from error
    return port


def log_start(config: Config, addresses: Mapping[str, IAddress]) -> None:
    """Write the lines that the log begins with, and the warnings of settings that look wrong."""
    for line in announce(config, addresses):
        _log.info("{line}", line=line)
    log_warnings(config)


def log_warnings(config: Config) -> None:
    """Write a line for each setting that looks wrong."""
    for warning in config_warnings(config):
        _log.warn("{line}", line=f"warning: {warning}")


def warn_of_changes(changes: Changes) -> None:
    """Write a line on what only a restart can change, and one for each setting that looks wrong now."""
    if changes.left:
        left = ", ".join(changes.left)
        _log.warn("Restart the gateway to change {left}: can't change while it runs", left=left)
    log_warnings(changes.config)


def with_socket_mode(endpoint: str) -> str:
    """Return the description of an endpoint whose Unix socket, if it is none with a mode, is its group's too."""
    is_plain_socket = endpoint.lower().startswith("unix:") and not re.search(r"(?<!\\):mode=", endpoint)
    return f"{endpoint}:mode=660" if is_plain_socket else endpoint


def with_demo(config: Config, base_url: str) -> Config:
    """Return the configuration with the demo provider, at that URL, as the only provider of each type.

    Any API key is valid there. Without a URL, no demo runs, and the configuration stays as it is.
    """
    if not base_url:
        return config
    suffixes = {"anthropic": "/anthropic", "openai": "/openai/v1"}
    providers: dict[str, Provider] = {
        name: cls(base_url=base_url + suffixes[name], api_key="demo") for name, cls in USUAL_TYPES.items()
    }
    # Its answers are priced as those of the providers whose place it takes.
    prices = evolve(config.prices, providers={name: name for name in providers})
    return evolve(config, providers=providers, prices=prices)
