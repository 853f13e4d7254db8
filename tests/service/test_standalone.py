"""The start and the stop of ``twistd aibridge``, with parts that only note their calls."""

from pathlib import Path
from typing import Any

from attrs import evolve
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent, globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Site

from aibridge import Limits, MCPServerSettings
from aibridge.config.loader import load_config
from aibridge.config.mcp import McpConfig
from aibridge.config.model import Config
from aibridge.errors import ConfigError, RecordingError
from aibridge.service import standalone
from aibridge.service.assembly import Parts
from aibridge.service.gateway import GatewayService
from aibridge.service.standalone import StandaloneGateway
from aibridge.tracing.settings import TracingSettings

from ..http.certificates import make_certificate
from .parts import Part


class StandaloneGatewayTests(SynchronousTestCase):
    """A service of such parts, on a reactor in memory."""

    def setUp(self) -> None:
        self.story: list[str] = []
        self.recorder = Part("recorder", self.story)
        self.bridge = Part("bridge", self.story)
        self.toolbox: Any = None
        self.demo = Part("demo", self.story, {"start": succeed("http://127.0.0.1:9")})
        self.reactor = MemoryReactorClock()
        self.failures: list[str] = []
        self.assembled: list[Config] = []
        self.reloaded: list[Config] = []
        self.found: Any = None
        self.reactor.getThreadPool = lambda: None
        self.patch(standalone, "deferToThreadPool", lambda reactor, pool, read, *args: maybeDeferred(read, *args))

    def service(self, demo: Any = None, config: Config | None = None) -> StandaloneGateway:
        """A gateway of these parts."""
        return StandaloneGateway(
            config or load_config(None, {}),
            reactor=self.reactor,
            on_failure=self.failures.append,
            demo=demo,
            assemble=self.assemble,
            read_config=self.read,
        )

    def assemble(self, config: Config, reactor: Any) -> Parts:
        """The parts, in place of the real ones."""
        self.assembled.append(config)
        gateway = GatewayService(
            self.bridge,
            self.recorder,
            toolbox=self.toolbox,
            drain_seconds=config.server.drain_seconds,
            reactor=self.reactor,
        )
        sites = {"listen": Site(None), "admin_listen": Site(None)}
        registry = CollectorRegistry()
        return Parts(
            gateway=gateway, registry=registry, sites=sites, reload=self.reload_parts, report=self.report_parts
        )

    def report_parts(self) -> "Deferred[dict[str, Any]]":
        """The report of the parts."""
        return succeed({"ready": True, "database": {"ready": True}})

    def reload_parts(self, config: Config, prices: Any) -> "Deferred[None]":
        """The change of the parts' settings."""
        self.reloaded.append(config)
        return succeed(None)

    def test_report(self) -> None:
        """Before it listens, the gateway is not ready; then it is what its parts are."""
        service = self.service()
        report = lambda: self.successResultOf(Deferred.fromCoroutine(service.report()))  # noqa: E731
        self.assertEqual(report(), {"ready": False})
        service.startService()
        self.assertEqual(report()["ready"], True)

    def reload(self, service: StandaloneGateway, found: Config | Exception | None = None) -> list[str]:
        """The lines of a gateway that is asked to read its configuration again, and finds that."""
        self.found = found or self.assembled[-1]
        with capturedLogs() as events:
            self.successResultOf(service.reload())
        return [formatEvent(event) for event in events if event["log_namespace"].startswith("aibridge")]

    def read(self) -> Config:
        """The configuration as it is found."""
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def ports(self) -> list[int]:
        """What is listened on."""
        return [port for port, *_ in self.reactor.tcpServers]

    def announced(self, service: StandaloneGateway) -> list[str]:
        """What the log says while the service starts."""
        lines: list[str] = []
        observer = lambda event: lines.append(event.get("line", ""))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        service.startService()
        return [line for line in lines if line]

    def test_start(self) -> None:
        """Nothing listens before the records can be kept."""
        self.recorder.results["startService"] = migrated = Deferred()
        self.service().startService()
        self.assertEqual((self.story, self.ports()), (["recorder startService"], []))
        migrated.callback(None)
        self.assertEqual((self.story, self.ports()), (["recorder startService", "bridge startService"], [8080, 8081]))

    def test_stop(self) -> None:
        """Ports, exchanges in flight, bridge, records: each ends before the next does, and the reactor waits for the last."""
        self.bridge.results["drain"] = drained = Deferred()
        self.recorder.results["stopService"] = flushed = Deferred()
        service = self.service()
        service.startService()
        self.story.clear()
        stopped = service.stopService()
        self.assertEqual(self.story, ["bridge drain 30.0"])
        drained.callback(None)
        self.assertEqual(self.story, ["bridge drain 30.0", "bridge stopService", "recorder stopService"])
        self.assertNoResult(stopped)
        flushed.callback(None)
        self.successResultOf(stopped)

    def test_an_ending_that_fails(self) -> None:
        """Whatever goes wrong at the end, the records are flushed."""
        self.bridge.results["drain"] = fail(RuntimeError("stuck"))
        service = self.service()
        service.startService()
        self.successResultOf(service.stopService())
        self.assertEqual(self.story[-1], "recorder stopService")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_stopped_while_it_starts(self) -> None:
        """A gateway that is stopped before it is up ends what it has begun."""
        self.recorder.results["startService"] = migrated = Deferred()
        service = self.service()
        service.startService()
        stopped = service.stopService()
        self.assertNoResult(stopped)
        migrated.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.story[-1], "recorder stopService")

    def test_stopped_while_tools_connect(self) -> None:
        """A stop waits for no MCP server that does not answer."""
        self.toolbox = Part("toolbox", self.story, {"settled": Deferred()})
        service = self.service()
        service.startService()
        self.assertEqual(self.story[-1], "toolbox settled")
        self.successResultOf(service.stopService())
        self.assertEqual(self.story[-2:], ["toolbox stop", "recorder stopService"])
        self.recorder.results["startService"] = migrated = Deferred()
        service = self.service()
        service.startService()
        stopped = service.stopService()
        migrated.callback(None)
        self.successResultOf(stopped)

    def test_port_taken(self) -> None:
        """A listener that can't be had is one plain line, and what was begun is ended."""

        def taken(*args: Any, **kwargs: Any) -> Any:
            raise CannotListenError("127.0.0.1", 8080, OSError(98, "Address already in use"))

        self.patch(self.reactor, "listenTCP", taken)
        self.service().startService()
        self.assertEqual(
            self.failures,
            ["can't start: server.listen: Couldn't listen on 127.0.0.1:8080: [Errno 98] Address already in use"],
        )
        self.assertEqual(self.story[-3:], ["bridge drain 30.0", "bridge stopService", "recorder stopService"])

    def test_no_database(self) -> None:
        """A database that can't be opened is one plain line, and nothing listens."""
        self.recorder.results["startService"] = fail(RecordingError("database sqlite:///x: disk full"))
        self.service().startService()
        self.assertEqual((self.failures, self.ports()), (["database sqlite:///x: disk full"], []))

    def test_unforeseen(self) -> None:
        """What nobody thought of goes to the log whole, and ends the start all the same."""
        self.recorder.results["startService"] = fail(ZeroDivisionError())
        self.service().startService()
        self.assertEqual(self.failures, ["can't start: the log says why"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_demo(self) -> None:
        """The demo is up before the gateway and outlives it; it stands in for both providers and needs no key."""
        service = self.service(demo=self.demo)
        service.startService()
        self.assertEqual(self.story[0], "demo start")
        providers = self.assembled[0].providers.values()
        self.assertEqual(
            [(provider.base_url, provider.api_key) for provider in providers],
            [("http://127.0.0.1:9/anthropic", "demo"), ("http://127.0.0.1:9/openai/v1", "demo")],
        )
        # Its answers have the prices of those providers.
        self.assertEqual(self.assembled[0].prices.providers, {"anthropic": "anthropic", "openai": "openai"})
        self.successResultOf(service.stopService())
        self.assertEqual(self.story[-2:], ["recorder stopService", "demo stop"])

    def test_no_admin_site(self) -> None:
        """The operator's site can be switched off."""
        config = load_config(None, {}, {"--admin-listen": (("server", "admin_listen"), "off")})
        self.service(config=config).startService()
        self.assertEqual(self.ports(), [8080])

    def test_warnings(self) -> None:
        """At the start it also warns of settings that look wrong."""
        config = load_config(None, {"ANTHROPIC_BASE_URL": "https://api.anthropic.com/v1"})
        lines = self.announced(self.service(config=config))
        self.assertTrue(any("warn" in line and "a /v1 too many" in line for line in lines), lines)

    def test_socket(self) -> None:
        """A Unix socket is its owner's and its group's, unless its endpoint has a mode."""
        for endpoint, mode in (("unix:/x", 0o660), ("unix:/x:mode=600", 0o600), ("unix:/x:lockfile=0", 0o660)):
            config = load_config(None, {}, {"--listen": (("server", "listen"), endpoint)})
            self.reactor.unixServers.clear()
            self.service(config=config).startService()
            self.assertEqual(self.reactor.unixServers[0][3], mode)

    def test_tls(self) -> None:
        """With a certificate the gateway has TLS; the operator's site has not."""
        path = Path(self.mktemp())
        path.write_bytes(make_certificate("localhost"))
        config = load_config(None, {})
        config = evolve(config, server=evolve(config.server, tls_certificate=str(path)))
        lines = self.announced(self.service(config=config))
        self.assertEqual([line.partition("://")[0] for line in lines[:2]], ["gateway: https", "operator's site: http"])
        factories = [type(factory) for _, factory, *_ in self.reactor.tcpServers]
        self.assertEqual(factories, [TLSMemoryBIOFactory, Site])

    def test_certificate_read_again(self) -> None:
        """The certificate is read again with the configuration; an unusable file changes nothing."""
        path = Path(self.mktemp())
        path.write_bytes(make_certificate("localhost"))
        config = load_config(None, {})
        service = self.service(config=evolve(config, server=evolve(config.server, tls_certificate=str(path))))
        service.startService()
        context = service._certificate.getContext()
        self.assertIn("read again", self.reload(service)[0])
        renewed = service._certificate.getContext()
        self.assertIsNot(renewed, context)
        path.write_bytes(b"")
        [line] = self.reload(service)
        self.assertIn("everything stays as it was: must", line)
        self.assertIs(service._certificate.getContext(), renewed)
        self.assertEqual(len(self.reloaded), 1)

    def test_reload(self) -> None:
        """New settings reach the parts, and a line names their keys; values, which may be secret, are not shown."""
        service = self.service()
        service.startService()
        config = self.assembled[0]
        provider = evolve(config.providers["openai"], name="groq", api_key="hunter2hunter2hunter2")
        new = evolve(
            config,
            limits=Limits(concurrent=3),
            providers={"anthropic": evolve(config.providers["anthropic"], idle_timeout=9.0), "groq": provider},
            mcp=McpConfig(servers={"menu": MCPServerSettings(name="menu", url="http://menu.test")}),
        )
        lines = self.reload(service, new)
        keys = "limits.concurrent, providers.anthropic, providers.groq, providers.openai, mcp.menu"
        expected = f"The configuration, its files and the prices are read again; changed: {keys}"
        self.assertEqual((lines, self.reloaded), ([expected], [new]))
        self.assertEqual(self.reload(service, new), [expected.partition("changed")[0] + "no setting has changed"])

    def test_traces(self) -> None:
        """Traces are switched on, changed and switched off: their section comes and goes."""
        service = self.service()
        service.startService()
        config = self.assembled[0]
        traced = evolve(config, otel=TracingSettings(endpoint="http://c.test"))
        for new, keys in (
            (traced, "otel.endpoint, otel.sample_ratio, otel.content"),
            (evolve(config, otel=TracingSettings(endpoint="http://c.test", sample_ratio=1.0)), "otel.sample_ratio"),
            (config, "otel.endpoint, otel.sample_ratio, otel.content"),
        ):
            self.assertEqual([line.partition("changed: ")[2] for line in self.reload(service, new)], [keys])
        self.assertIsNone(self.reloaded[-1].otel)

    def test_fixed(self) -> None:
        """Listeners and the database stay as they are while the gateway runs, and one line says so."""
        service = self.service()
        service.startService()
        config = self.assembled[0]
        server = evolve(config.server, listen="tcp:9", stall_timeout=7.0)
        new = evolve(config, server=server, database=evolve(config.database, url="sqlite:///other"))
        lines = self.reload(service, new)
        self.assertTrue(lines[0].endswith("changed: server.stall_timeout"), lines)
        self.assertEqual(
            lines[1:], ["Restart the gateway to change server.listen, database.url: can't change while it runs"]
        )
        [used] = self.reloaded
        self.assertEqual(used, evolve(config, server=evolve(config.server, stall_timeout=7.0)))

    def test_bad_file(self) -> None:
        """A configuration that can't be used changes nothing, and one line says what is wrong with it."""
        service = self.service()
        service.startService()
        [line] = self.reload(service, ConfigError("aibridge.toml", "server.listen", "must be a string"))
        self.assertIn("everything stays as it was: aibridge.toml: server.listen: must be a string", line)
        self.assertEqual(self.reloaded, [])
        self.assertIn("could not be read again", self.reload(service, ZeroDivisionError())[0])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_reload_of_the_demo(self) -> None:
        """The demo's providers stay in the place of those that are configured."""
        service = self.service(demo=self.demo)
        service.startService()
        lines = self.reload(service, load_config(None, {}))
        self.assertIn("no setting has changed", lines[0])
        self.assertEqual(self.reloaded, self.assembled)

    def test_reload_while_stopped(self) -> None:
        """A gateway that has stopped meanwhile, or not started yet, changes nothing."""
        service = self.service()
        self.found = load_config(None, {})
        self.successResultOf(service.reload())
        service.startService()
        service.stopService()
        self.successResultOf(service.reload())
        self.assertEqual(self.reloaded, [])

    def test_draining(self) -> None:
        """A stop says what it waits for, how long, and how to hurry it; if it waits for nothing it says nothing."""
        for count, hurried, lines in ((0, False, 0), (3, True, 0), (3, False, 1)):
            service = self.service()
            service.startService()
            if hurried:
                service.hurry()
            self.bridge.in_flight = count
            with capturedLogs() as events:
                service.stopService()
            told = [formatEvent(event) for event in events if "Stopping" in formatEvent(event)]
            self.assertEqual(len(told), lines)
        self.assertIn("3 requests in flight have 30 s to end. A second SIGTERM or Ctrl-C", told[0])

    def test_announcement(self) -> None:
        """At the start it says what runs where, without a secret, and how two clients are pointed at it."""
        config = load_config(None, {"OPENAI_API_KEY": "hunter2"})
        database = evolve(config.database, url="postgresql+psycopg://u:hunter2@h/db")
        lines = self.announced(self.service(config=evolve(config, database=database)))
        self.assertEqual(len(lines), 7)
        self.assertNotIn("hunter2", "".join(lines))
        self.assertTrue(lines[-2].endswith("export ANTHROPIC_BASE_URL=http://127.0.0.1:8080/anthropic"), lines)
        self.assertTrue(lines[-1].endswith("codex -c openai_base_url=http://127.0.0.1:8080/openai/v1"), lines)
