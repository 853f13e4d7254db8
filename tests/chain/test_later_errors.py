"""Errors after the client has the beginning of a streamed answer: what it is told, and what is recorded."""

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import orjson
from attrs import evolve

from aibridge.testing import Ending, RawReply, Reply, ToolCall, Usage

from .apis import CHAT, MESSAGES, RESPONSES, Api, Json
from .gateway import ChainTestCase
from .toolbox import ScriptedToolbox

CALLS = Reply(
    text="One moment. ", tool_calls=[ToolCall("bmcp_sky_tides", {"at": "it"})], usage=Usage(input=10, output=5)
)
WORDS = Reply(text="High water. " * 9)


def error(status: int, body: Any, **more: Any) -> RawReply:
    """An error of the provider's."""
    chunks = [body if isinstance(body, bytes) else orjson.dumps(body, option=orjson.OPT_INDENT_2)]
    return RawReply(status=status, headers={"content-type": "application/json"}, chunks=chunks, **more)


class LaterErrorsTestCase(ChainTestCase):
    """A gateway with two tools."""

    def setUp(self) -> None:
        super().setUp()
        self.start(toolbox=ScriptedToolbox("now", "tides"))


class LaterErrorsContract:
    """The behaviour in every API."""

    api: Api
    own_errors: Sequence[tuple[int, Json, str, str]]
    """The provider's statuses and errors, the type or code that the client is told, and the type in the row."""

    def told(self: Any, *replies: Any, seconds: float = 3) -> Json:
        """Stream an answer whose tool call is followed by these replies; return the error that the client is told."""
        self.provider.say(CALLS, *replies)
        client = self.ask(self.api, stream=True)
        self.network.wait(seconds)
        self.assertEqual((client.answer.whole, client.closed), (False, True))
        event: Json = self.api.error_event(bytes(client.answer.body))
        return event

    def test_own_error(self: Any) -> None:
        """The provider's type, code and words reach the client in the API's event, and its type the row."""
        for status, fields, told, recorded in self.own_errors:
            event = self.told(error(status, self.body(fields)))
            self.assertEqual(event["message"], fields["message"])
            self.assertIn(told, (event.get("type"), event.get("code")))
            exchange = self.exchanges[-1]
            self.assertEqual((exchange.end, exchange.ended.error), (("failed", 200), f"{recorded} (HTTP {status})"))
            self.assertEqual(len(exchange.usages), 1)

    def test_other_forms(self: Any) -> None:
        """Of an error in no form of the API the status says what it is; words in the usual places are told."""
        kinds = {429: "rate_limit", 529: "overloaded", 503: "overloaded", 401: "a", 404: "i", 400: "invalid_request"}
        for status, kind in kinds.items():
            for body, words in (
                (b"<html>no</html>", "HTTP"),
                (b"", "HTTP"),
                ({"detail": "Too busy."}, "Too busy."),
                ({"error": "Too busy."}, "Too busy."),
                ([{"error": {"message": "Too busy."}}], "Too busy."),
                ({"object": "error", "message": "Too busy."}, "Too busy."),
            ):
                event = self.told(error(status, body))
                self.assertIn(words, event["message"])
                if status in (429, 503, 529):
                    self.assertIn(kind, f"{event.get('type')} {event.get('code')}")
                self.assertIn(f"(HTTP {status})", self.exchanges[-1].ended.error)

    def test_bounded(self: Any) -> None:
        """Of an error without end, or one that stalls, no more is waited for than of other answers."""
        endless = RawReply(status=429, chunks=repeat(b"x" * 1000))
        self.assertIn("HTTP 429", self.told(endless)["message"])
        stalled = error(429, b'{"error":', ending=Ending.STALL)
        self.assertIn("sent nothing for 10 seconds", self.told(stalled, seconds=30)["message"])

    def test_error_as_an_answer(self: Any) -> None:
        """An error with a status of success is an error too."""
        _, fields, _, recorded = self.own_errors[0]
        event = self.told(error(200, self.body(fields)))
        self.assertEqual(event["message"], fields["message"])
        self.assertEqual(self.exchanges[-1].ended.error, f"{recorded} (HTTP 200)")

    def test_unstreamed(self: Any) -> None:
        """If nothing has gone out, the provider's error passes as it is."""
        for status, fields, _, recorded in self.own_errors:
            reply = error(status, self.body(fields))
            self.provider.say(CALLS, reply)
            answer = self.answer(self.api)
            self.assertEqual((answer.status, bytes(answer.body)), (status, reply.chunks[0]))
            self.assertEqual(self.exchanges[-1].ended.error, f"{recorded} (HTTP {status})")

    def test_own_kinds(self: Any) -> None:
        """The gateway's own errors in mid-stream say whether the provider was too slow, or broke off."""
        self.provider.say(evolve(WORDS, stop_after=5, ending=Ending.STALL))
        client = self.ask(self.api, stream=True)
        self.network.wait(30)
        slow = self.api.error_event(bytes(client.answer.body))
        self.provider.say(evolve(WORDS, stop_after=5, ending=Ending.CUT))
        client = self.ask(self.api, stream=True)
        self.network.wait(3)
        broken = self.api.error_event(bytes(client.answer.body))
        kinds = [event.get("code") or event["type"] for event in (slow, broken)]
        expected = (
            ["timeout_error", "api_error"] if self.api is MESSAGES else ["upstream_timeout", "upstream_broke_off"]
        )
        self.assertEqual(kinds, expected)


class MessagesErrors(LaterErrorsContract, LaterErrorsTestCase):
    """Messages."""

    api = MESSAGES
    own_errors = (
        (529, {"type": "overloaded_error", "message": "Overloaded"}, "overloaded_error", "overloaded_error"),
        (429, {"type": "rate_limit_error", "message": "Slow down."}, "rate_limit_error", "rate_limit_error"),
        (
            400,
            {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"},
            "invalid_request_error",
            "invalid_request_error",
        ),
    )

    def body(self, fields: Json) -> Json:
        return {"type": "error", "error": fields}

    def test_request_id(self) -> None:
        """The provider's id of the request is told too, by which its operators find it."""
        self.provider.say(
            CALLS, error(529, self.body({"type": "overloaded_error", "message": "x"}) | {"request_id": "req_1"})
        )
        client = self.ask(MESSAGES, stream=True)
        self.network.wait(3)
        self.assertIn(b'"request_id":"req_1"', client.answer.body)


_CONTEXT = {
    "message": "Too many tokens.",
    "type": "invalid_request_error",
    "param": "input",
    "code": "context_length_exceeded",
}
_LIMIT = {"message": "Rate limit reached.", "type": "tokens", "param": None, "code": "rate_limit_exceeded"}


class ChatErrors(LaterErrorsContract, LaterErrorsTestCase):
    """Chat completions."""

    api = CHAT
    own_errors = (
        (400, _CONTEXT, "context_length_exceeded", "invalid_request_error"),
        (429, _LIMIT, "tokens", "tokens"),
        (500, {"message": "Oh.", "type": "server_error", "param": None, "code": None}, "server_error", "server_error"),
    )

    def body(self, fields: Json) -> Json:
        return {"error": fields}


class ResponsesErrors(LaterErrorsContract, LaterErrorsTestCase):
    """Responses."""

    api = RESPONSES
    own_errors = (
        (400, _CONTEXT, "context_length_exceeded", "invalid_request_error"),
        (429, _LIMIT, "rate_limit_exceeded", "tokens"),
        (500, {"message": "Oh.", "type": "server_error", "param": None, "code": None}, "server_error", "server_error"),
    )

    def body(self, fields: Json) -> Json:
        return {"error": fields}

    def test_sequence_numbers(self) -> None:
        """The error's event has the number that follows the last one that the client got, in every round."""
        for replies in (
            [evolve(WORDS, stop_after=stop, ending=Ending.CUT) for stop in (1,)],
            [evolve(WORDS, stop_after=9, ending=Ending.CUT)],
            [CALLS, error(500, b"")],
            [CALLS, evolve(WORDS, stop_after=1, ending=Ending.CUT)],
            [CALLS, evolve(WORDS, stop_after=9, ending=Ending.CUT)],
            [CALLS, CALLS, evolve(WORDS, stop_after=9, ending=Ending.CUT)],
        ):
            for with_tools in (True, False) if len(replies) == 1 else (True,):
                self.provider.say(*replies)
                members = {} if with_tools else {"tool_choice": "none"}
                client = self.ask(RESPONSES, stream=True, **members)
                self.network.wait(3)
                datas = [line[6:] for line in bytes(client.answer.body).split(b"\n") if line.startswith(b"data: ")]
                numbers = [orjson.loads(data)["sequence_number"] for data in datas]
                self.assertEqual(numbers, list(range(len(numbers))), replies)
                self.assertEqual(orjson.loads(datas[-1])["type"], "error")
