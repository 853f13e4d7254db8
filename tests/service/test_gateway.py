"""The gateway as a service in a host's application."""

from types import SimpleNamespace
from typing import Any

from twisted.application.service import Application, IServiceCollection
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from aibridge import AnthropicProvider, BridgeSettings, GatewayService, RecordingError, RequestBridge
from aibridge.recorder import SQLRecorder
from aibridge.testing import FakeProvider, MemoryNetwork, MemoryRecorder, Reply, quiet_site

from ..chain.apis import MESSAGES
from ..chain.client import Client
from .parts import Part


class OrderTests(SynchronousTestCase):
    """The order of the start and of the stop, shown with parts that only note their calls."""

    def setUp(self) -> None:
        self.story: list[str] = []
        self.recorder = Part("recorder", self.story)
        self.toolbox = Part("toolbox", self.story)
        self.bridge = Part("bridge", self.story)
        self.clock = Clock()
        self.service = GatewayService(
            self.bridge, self.recorder, toolbox=self.toolbox, drain_seconds=9, reactor=self.clock
        )

    def test_start(self) -> None:
        """The recorder is ready before the tools connect, and these before the bridge opens."""
        self.recorder.results["startService"] = recorder = Deferred()
        self.toolbox.results["settled"] = tools = Deferred()
        started = self.service.startService()
        self.assertEqual(self.story, ["recorder startService"])
        recorder.callback(None)
        self.assertEqual(self.story[1:], ["toolbox start", "toolbox settled"])
        tools.callback(None)
        self.assertEqual(self.story[3:], ["bridge startService"])
        self.successResultOf(started)

    def test_slow_tools(self) -> None:
        """The start waits five seconds for MCP servers that don't answer, and then goes on without them."""
        self.toolbox.results["settled"] = Deferred()
        started = self.service.startService()
        self.clock.advance(4.9)
        self.assertNoResult(started)
        self.clock.advance(0.1)
        self.successResultOf(started)
        self.assertEqual(self.story[-1], "bridge startService")

    def test_stop(self) -> None:
        """Each part has stopped before the next one does: the requests in flight, the bridge, the tools, the recorder."""
        self.bridge.results["drain"] = drained = Deferred()
        self.recorder.results["stopService"] = written = Deferred()
        self.service.startService()
        self.story.clear()
        stopped = self.service.stopService()
        self.assertEqual(self.story, ["bridge drain 9"])
        drained.callback(None)
        self.assertEqual(self.story[1:], ["bridge stopService", "toolbox stop", "recorder stopService"])
        self.assertNoResult(stopped)
        written.callback(None)
        self.successResultOf(stopped)

    def test_stop_during_the_start(self) -> None:
        """A stop waits for the start to end, and then stops all of it."""
        self.recorder.results["startService"] = recorder = Deferred()
        started = self.service.startService()
        stopped = self.service.stopService()
        self.assertNoResult(stopped)
        recorder.callback(None)
        self.successResultOf(started)
        self.successResultOf(stopped)
        self.assertEqual(self.story[-1], "recorder stopService")

    def test_hurry(self) -> None:
        """In a hurry no request in flight is waited for, whether that is asked before the stop or while it waits."""
        for early in (True, False):
            self.bridge.results["drain"] = drained = Deferred(lambda waiting: waiting.callback(None))
            self.service.startService()
            if early:
                self.service.hurry()
            stopped = self.service.stopService()
            self.service.hurry()
            self.assertTrue(drained.called)
            self.successResultOf(stopped)

    def test_no_recorder(self) -> None:
        """If the recorder can't start, the start fails with its error, and nothing else is started."""
        self.recorder.results["startService"] = fail(RecordingError("disk full"))
        self.failureResultOf(self.service.startService(), RecordingError)
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.story, ["recorder startService"])

    def test_no_tools(self) -> None:
        """If the tools can't be connected at all, the recorder that was started is stopped again."""
        self.toolbox.results["settled"] = fail(ZeroDivisionError())
        self.failureResultOf(self.service.startService(), ZeroDivisionError)
        self.assertEqual(self.story[-2:], ["toolbox stop", "recorder stopService"])

    def test_a_stop_that_fails(self) -> None:
        """A step that fails is logged, and the steps after it are done: the records are written."""
        self.bridge.results["drain"] = fail(RuntimeError("stuck"))
        self.service.startService()
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.story[-1], "recorder stopService")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class ReloadTests(SynchronousTestCase):
    """The change of the settings of a service that runs, with parts that only note their calls."""

    def setUp(self) -> None:
        self.story: list[str] = []
        self.before, self.after = Part("before", self.story), Part("after", self.story)
        self.bridge = Part("bridge", self.story)
        self.clock = Clock()
        self.service = GatewayService(
            self.bridge, Part("recorder", self.story), toolbox=self.before, reactor=self.clock
        )
        self.service.startService()
        self.story.clear()
        self.settings = BridgeSettings(providers=[], recorder=MemoryRecorder())

    def test_other_tools(self) -> None:
        """New MCP servers are connected first; the earlier ones end after the last exchange that may use them."""
        self.after.results["settled"] = settled = Deferred()
        self.bridge.results["finished"] = finished = Deferred()
        reloaded = self.service.reload(self.settings, self.after)
        self.assertEqual(self.story, ["after start", "after settled"])
        settled.callback(None)
        self.successResultOf(reloaded)
        self.assertEqual([line.partition(" Br")[0] for line in self.story[2:]], ["bridge apply", "bridge finished"])
        finished.callback(None)
        self.assertEqual(self.story[4:], ["before stop"])
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.story[-2:], ["after stop", "recorder stopService"])

    def test_same_tools(self) -> None:
        """The present MCP servers stay connected."""
        self.successResultOf(self.service.reload(self.settings, self.before))
        self.assertEqual(len(self.story), 1, self.story)

    def test_stop_of_earlier_tools(self) -> None:
        """A stop ends the earlier MCP servers too, if they still serve an exchange."""
        self.bridge.results["finished"] = Deferred()
        self.successResultOf(self.service.reload(self.settings))
        self.story.clear()
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.story[-2:], ["before stop", "recorder stopService"])

    def test_stop_meanwhile(self) -> None:
        """A stop does not wait for MCP servers that are being connected; later there is nothing to change any more."""
        self.after.results["settled"] = Deferred()
        reloaded = self.service.reload(self.settings, self.after)
        stopped = self.service.stopService()
        self.successResultOf(reloaded)
        self.successResultOf(stopped)
        self.assertEqual({"before stop", "after stop"} - {*self.story}, set())
        self.story.clear()
        self.successResultOf(self.service.reload(self.settings))
        self.assertEqual(self.story, [])

    def test_unusable_tools(self) -> None:
        """Tools that can't be connected at all leave everything as it was, and none of their servers connected."""
        self.after.results["settled"] = fail(ZeroDivisionError())
        self.failureResultOf(self.service.reload(self.settings, self.after), ZeroDivisionError)
        self.assertEqual(self.story, ["after start", "after settled", "after stop"])
        self.successResultOf(self.service.reload(self.settings, self.before))

    def test_unusable_settings(self) -> None:
        """Settings that the bridge refuses fail the reload; the sessions that were begun for them end."""

        def refuse(settings: BridgeSettings) -> None:
            raise ValueError("no such fallback")

        self.patch(self.service, "bridge", SimpleNamespace(apply=refuse))
        self.failureResultOf(self.service.reload(self.settings, self.after), ValueError)
        self.failureResultOf(self.service.reload(self.settings, self.before), ValueError)
        self.assertEqual(self.story, ["after start", "after settled", "after stop"])


class HostTests(SynchronousTestCase):
    """A real bridge in a host's application, in memory."""

    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.provider = FakeProvider(clock=self.network)
        self.network.serve(9000, quiet_site(self.provider, self.network))
        self.recorder = MemoryRecorder()
        self.bridge = RequestBridge(
            [AnthropicProvider(base_url="http://192.0.2.9:9000", api_key="k")], self.recorder, reactor=self.network
        )
        self.network.serve(8080, quiet_site(self.bridge, self.network))
        self.application = Application("host")
        GatewayService(self.bridge, self.recorder, reactor=self.network).setServiceParent(self.application)

    def post(self) -> Client:
        """A client that has sent a request."""
        client = self.network.connect(8080, Client())
        client.send("POST", MESSAGES.path, MESSAGES.body())
        self.network.settle()
        return client

    def test_application(self) -> None:
        """A request in flight when the application stops is answered whole, a later one is refused."""
        services = IServiceCollection(self.application)
        services.startService()
        said: Deferred[Any] = Deferred()
        self.provider._script = lambda question: said
        client = self.post()
        stopped = services.stopService()
        self.assertEqual(self.post().answer.status, 503)
        self.assertNoResult(stopped)
        said.callback(Reply(text="pong"))
        self.network.settle()
        self.successResultOf(stopped)
        self.assertEqual((client.answer.status, client.answer.whole), (200, True))
        self.assertEqual([ended.status for ended in self.recorder.ended.values()], ["completed"])

    def test_recorder(self) -> None:
        """A recorder that is a service runs while the gateway does."""
        recorder = SQLRecorder("sqlite://")
        calls = []
        self.patch(recorder, "startService", lambda: calls.append("start") or succeed(None))
        self.patch(recorder, "stopService", lambda: calls.append("stop") or succeed(None))
        service = GatewayService(self.bridge, recorder, reactor=self.network)
        self.successResultOf(service.startService())
        self.assertEqual(calls, ["start"])
        self.successResultOf(service.stopService())
        self.assertEqual(calls, ["start", "stop"])
