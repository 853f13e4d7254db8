"""A gateway that is stopped: what is under way is broken off, told so, and recorded, whoever the agent belongs to."""

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from aibridge.interfaces import IOnDemandRecorder, IRecorder, IToolbox
from aibridge.testing import CannedServer, Ending, MemoryRecorder, RawReply, Reply, ToolCall
from aibridge.tools.toolset import Toolset
from aibridge.wire.tool_calls import InjectedCall, InjectedTool

from .apis import CHAT, MESSAGES, RESPONSES, Api
from .gateway import PROVIDER_PORT, ChainTestCase
from .test_agents import TwistedAgentTestCase

LONG = Reply(text="a word and another " * 20, stop_after=9, ending=Ending.STALL)
SILENT = RawReply(status=None, ending=Ending.STALL)
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
STOPPING = "The gateway is stopping."


@implementer(IToolbox)
class Waiting:
    """A toolbox whose one tool never ends by itself."""

    def __init__(self) -> None:
        self.called = 0
        self.cancelled: list[Any] = []

    def toolset(self) -> Toolset:
        return Toolset((InjectedTool("bmcp_menu_wait", "menu", "http://menu.test", "wait", "Waits.", {}),))

    def call(self, call: InjectedCall) -> "Deferred[Any]":
        self.called += 1
        return Deferred(self.cancelled.append)

    def status(self) -> list[dict[str, Any]]:
        return []


class StoppingContract:
    """What holds in every API."""

    api: Api

    def begin(self: Any, *said: Any, **members: Any) -> Any:
        """A client whose answer does not come to its end."""
        self.provider.say(*said)
        client = self.ask(self.api, **members)
        self.network.wait(1)
        return client

    def stopped(self: Any) -> None:
        """It comes to its end without waiting for anyone; the provider is let go."""
        stopped = self.bridge.stopService()
        self.network.settle()
        self.successResultOf(stopped)
        self.assertEqual(self.bridge.in_flight, 0)
        if self.provider.requests:
            self.successResultOf(self.provider.requests[-1].over)

    def refused(self: Any, client: Any) -> None:
        """It was told in the API's shape to come again, and to come elsewhere."""
        answer = client.answer
        self.assertEqual((answer.status, answer.whole, answer.header("connection")), (503, True, "close"))
        self.assertTrue(self.api.error_of(answer.json))
        self.assertEqual((answer.json["error"]["message"], answer.header("retry-after")), (STOPPING, "1"))

    def recorded(self: Any, http_status: int) -> None:
        """As failed, with the reason."""
        ended = self.exchange.ended
        self.assertEqual((ended.status, ended.http_status, ended.error), ("failed", http_status, STOPPING))

    def test_before_the_head(self: Any) -> None:
        """503 for one that still waits for its provider."""
        client = self.begin(SILENT)
        self.stopped()
        self.refused(client)
        self.recorded(503)

    def test_in_a_body(self: Any) -> None:
        """503 for one of whose answer nothing has gone out."""
        client = self.begin(Reply(text="x" * 5000, stop_after=2, ending=Ending.STALL))
        self.stopped()
        self.refused(client)
        self.recorded(503)

    def test_in_a_stream(self: Any) -> None:
        """An error event for one in mid-stream, and no proper end."""
        client = self.begin(LONG, stream=True)
        self.stopped()
        self.network.wait(6)
        self.assertEqual(self.api.error_event(bytes(client.answer.body))["message"], STOPPING)
        self.assertEqual((client.answer.whole, client.closed), (False, True))
        self.recorded(200)
        self.assertEqual([row.metadata["complete"] for row in self.exchange.usages], [False])

    def test_for_a_client_that_left(self: Any) -> None:
        """One that is only read on for its figures ends too."""
        self.start({"on_disconnect": "drain"})
        self.begin(LONG, stream=True).leave()
        self.network.wait(1)
        self.assertEqual(self.bridge.in_flight, 1)
        self.stopped()
        self.recorded(200)

    def test_passed_through(self: Any) -> None:
        """So do requests that are passed through: 503, or cut off."""
        for says, status, whole in ((b"", 503, True), (HALF, 200, False)):
            self.network.serve(PROVIDER_PORT, CannedServer(says))
            self.start()
            client = self.connect()
            client.send("GET", f"/{self.api.provider}/v1/models")
            self.network.wait(1)
            self.stopped()
            self.assertEqual((client.answer.status, client.answer.whole), (status, whole))

    def test_while_it_asks_who_it_is(self: Any) -> None:
        """So does one of which it isn't known yet who asks."""
        self.start(authenticate=lambda request: Deferred())
        client = self.begin()
        self.stopped()
        self.refused(client)
        self.assertEqual((self.exchanges, len(self.provider.requests)), ([], 0))

    def test_with_a_tool_running(self: Any) -> None:
        """So does one whose model waits for a tool of the gateway's; the call is cancelled."""
        toolbox = Waiting()
        self.start(toolbox=toolbox)
        client = self.begin(Reply(tool_calls=[ToolCall("bmcp_menu_wait", {})]))
        self.assertEqual((toolbox.called, toolbox.cancelled), (1, []))
        self.stopped()
        self.refused(client)
        self.recorded(503)
        self.assertEqual(len(toolbox.cancelled), 1)

    def test_what_comes_later(self: Any) -> None:
        """A request on a connection that is still open is refused."""
        client = self.connect()
        self.stopped()
        client.send("POST", self.api.path, self.api.body())
        self.network.wait(1)
        self.assertEqual(
            (client.answer.status, client.answer.header("connection"), client.closed), (503, "close", True)
        )


class MessagesStoppingTests(StoppingContract, ChainTestCase):
    api = MESSAGES


class ChatStoppingTests(StoppingContract, ChainTestCase):
    api = CHAT


class ResponsesStoppingTests(StoppingContract, ChainTestCase):
    api = RESPONSES


class HostsAgentStoppingTests(StoppingContract, TwistedAgentTestCase):
    """Over an agent that is not the bridge's to close."""

    api = MESSAGES


@implementer(IRecorder, IOnDemandRecorder)
class OnDemandRecorder(MemoryRecorder):
    """A recorder that notes its end."""

    ended_by_bridge = False

    def release(self) -> "Deferred[None]":
        self.ended_by_bridge = True
        return succeed(None)


class FailingTracerTests(ChainTestCase):
    """A bridge with a host's tracer."""

    def test_flush_fails(self) -> None:
        """A tracer that can't export its traces is logged, and the recorder is ended all the same."""
        self.recorder = recorder = OnDemandRecorder()
        outcomes = iter([fail(ZeroDivisionError()), succeed(None)])
        self.start(tracer=SimpleNamespace(begin=lambda *_: None, flush=lambda: next(outcomes)))
        self.answer(MESSAGES)
        stopped = self.bridge.stopService()
        self.network.settle()
        self.successResultOf(stopped)
        self.assertTrue(recorder.ended_by_bridge)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))


class StartAgainTests(ChainTestCase):
    """A bridge that was stopped, and is started again."""

    def test_start_again(self) -> None:
        """It refuses requests between, and then serves and records as before, over new connections."""
        self.answer(MESSAGES)
        for _ in range(2):
            stopped = self.bridge.stopService()
            self.network.settle()
            self.successResultOf(stopped)
            self.assertEqual(self.answer(MESSAGES).status, 503)
            self.bridge.startService()
            self.assertEqual(self.answer(MESSAGES).status, 200)
        self.assertEqual([exchange.ended.status for exchange in self.exchanges], ["completed"] * 3)
