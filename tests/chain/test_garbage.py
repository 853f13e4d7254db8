"""What becomes of an exchange's memory when the exchange is over."""

import gc
from typing import Any

from aibridge.http.client_request import Request
from aibridge.http.server import GatewayRequest
from aibridge.interception import Interception
from aibridge.testing import Reply, ToolCall
from aibridge.upstream.client import UpstreamCall
from aibridge.upstream.relay import Relay
from aibridge.wire.request_body import RequestBody
from aibridge.wire.rounds import ToolDialogue

from .apis import CHAT, MESSAGES, RESPONSES
from .gateway import ChainTestCase
from .toolbox import ScriptedToolbox


class GarbageTests(ChainTestCase):
    """The process looks for garbage seldom, so there must be little to find."""

    def setUp(self) -> None:
        super().setUp()
        gc.collect()  # of what other tests left
        gc.disable()
        self.addCleanup(gc.enable)

    def test_freed_at_once(self) -> None:
        """Nothing of an exchange that is over waits for the garbage collector."""
        for api in (MESSAGES, CHAT, RESPONSES):
            for stream in (False, True):
                self.assertTrue(self.answer(api, stream=stream).whole)
        self.assertEqual(alive(Interception, Relay, GatewayRequest), [])

    def test_tools(self) -> None:
        """Of a conversation with the gateway's tools nothing large does so either."""
        self.start(toolbox=ScriptedToolbox("tides"))
        for api in (MESSAGES, CHAT, RESPONSES):
            for stream in (False, True):
                self.provider.say(Reply(tool_calls=[ToolCall("bmcp_sky_tides")]), Reply(text="High."))
                self.assertTrue(self.answer(api, stream=stream).whole)
        self.assertEqual(alive(Interception, Relay, GatewayRequest), [])
        self.assertEqual({dialogue.body for dialogue in alive(ToolDialogue)} - {b""}, set())

    def test_requests_are_let_go(self) -> None:
        """While an answer flows nothing is kept of its request, which may be a hundred times as large."""
        client = self.ask(MESSAGES, stream=True)
        self.network.settle()
        self.assertEqual((client.answer.status, client.answer.whole), (200, False))
        self.assertEqual(alive(RequestBody, Request), [])
        self.assertEqual([call.body for call in alive(UpstreamCall)], [b""])
        self.assertEqual([request.content.closed for request in alive(GatewayRequest)], [True])


def alive(*kinds: type) -> list[Any]:
    """All objects of these classes, whoever holds them."""
    return [each for each in gc.get_objects() if isinstance(each, kinds)]
