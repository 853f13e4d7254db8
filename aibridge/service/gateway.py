"""The gateway as a service: its parts started in order, and ended in the opposite order."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from ..config.endpoints import OFF
from ..config.model import BASE_URLS, Config, ProviderConfig
from ..errors import AIBridgeError, ConfigError
from ..http.sockets import sending_at_once
from .assembly import Parts, assemble
from .banner import announce

log = Logger()
_TIME_FOR_TOOLS = 5.0
"""Seconds. A server that is not there by then is offered from the moment when it is."""


class GatewayService(Service):
    """One gateway. ``failed`` is told, in one line, why it could not start.

    ``demo``, where it is given, is started first, and answers in the place of the configured providers.
    """

    def __init__(
        self,
        config: Config,
        *,
        reactor: Any,
        failed: Callable[[str], None],
        demo: Any = None,
        assemble: Callable[[Config, Any], Parts] = assemble,
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._failed = failed
        self._demo = demo
        self._assemble = assemble
        self._endings = AsyncExitStack()
        self._drained: Deferred[None] | None = None
        self._hurried = False
        self._started: Deferred[None] | None = None

    def startService(self) -> None:
        """Begins to start: nothing listens before everything behind it is ready."""
        super().startService()  # type: ignore[no-untyped-call]
        self._started = Deferred.fromCoroutine(self._start())

    def stopService(self) -> "Deferred[None]":
        """Ends the ports, the exchanges in flight, the bridge and the records. Fires when all of that is over."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    def hurry(self) -> None:
        """Waits for no exchange any more: those under way are broken off, and recorded as such."""
        self._hurried = True
        if self._drained is not None:
            self._drained.cancel()

    async def _start(self) -> None:
        try:
            await self._start_parts()
        except AIBridgeError as error:
            await self._end()
            self._failed(str(error))
        except Exception:
            log.failure("The gateway could not start.")
            await self._end()
            self._failed("can't start: the log says why")

    async def _stop(self) -> None:
        if self._started is not None:
            await self._started
        await self._end()

    async def _start_parts(self) -> None:
        config = await self._with_demo(self._config)
        parts = self._assemble(config, self._reactor)
        await maybeDeferred(parts.store.startService)
        self._at_end(parts.store.stopService)
        if parts.toolbox is not None:
            await self._start_toolbox(parts.toolbox)
        parts.bridge.startService()
        self._at_end(parts.bridge.stopService)
        self._at_end(self._drain, parts.bridge)
        addresses = {}
        for key, site in parts.sites.items():
            description = getattr(config.server, key)
            if description != OFF:
                addresses[key] = await self._listen(key, description, site)
        for line in announce(config, addresses):
            log.info("{line}", line=line)

    async def _start_toolbox(self, toolbox: Any) -> None:
        """A conversation keeps the tools that it begins with, so the first ones wait a little for them."""
        toolbox.start()
        self._at_end(toolbox.stop)
        settled = toolbox.settled()
        await settled.addTimeout(_TIME_FOR_TOOLS, self._reactor, onTimeoutCancel=lambda result, seconds: None)

    async def _with_demo(self, config: Config) -> Config:
        if self._demo is None:
            return config
        base = await self._demo.start()
        self._at_end(self._demo.stop)
        return evolve(config, providers=demo_providers(base))

    async def _listen(self, key: str, description: str, site: Any) -> Any:
        try:
            port = await serverFromString(sending_at_once(self._reactor), description).listen(site)
        except CannotListenError as error:
            raise ConfigError("can't start", f"server.{key}", str(error).rstrip(".")) from error
        self._at_end(port.stopListening)
        return port.getHost()

    def _drain(self, bridge: Any) -> "Deferred[None]":
        drained: Deferred[None] = bridge.drain(self._config.server.drain_seconds)
        self._drained = drained
        if self._hurried:
            drained.cancel()
        return drained

    def _at_end(self, end: Callable[..., Any], *args: Any) -> None:
        """What is begun last is ended first."""
        self._endings.push_async_callback(maybeDeferred, end, *args)

    async def _end(self) -> None:
        """Each ending is tried, whatever the others do."""
        try:
            await self._endings.aclose()
        except Exception:
            log.failure("The gateway did not end cleanly.")


def demo_providers(base: str) -> dict[str, ProviderConfig]:
    """The demo, below that URL, as one provider of each type; it takes any key."""
    suffixes = {"anthropic": "/anthropic", "openai": "/openai/v1"}
    return {
        name: ProviderConfig(name=name, type=name, base_url=base + suffixes[name], api_key="demo") for name in BASE_URLS
    }
