"""Streams of providers that differ from the documentation, from the client to the rows, with and without injected tools."""

from typing import Any

import orjson

from aibridge.testing import RawReply, Reply, Usage

from ..wire.chat.dialects import DIALECTS, as_documented, with_names_in_pieces
from .apis import CHAT, Json
from .gateway import ChainTestCase
from .toolbox import RESULT, ScriptedToolbox

EVENT_STREAM = {"content-type": "text/event-stream"}
DONE = b"data: [DONE]\n\n"
OWN = ("c1", "look", '{"at": "it"}')
HIDDEN = [("c2", "bmcp_sky_tides", '{"at": "hidden-argument"}'), ("c3", "bmcp_sky_now", "{}")]
USAGE = {"prompt_tokens": 10, "completion_tokens": 5}
WORDS = Reply(text="High water.", usage=Usage(input=20, output=7))


def frame(document: Json) -> bytes:
    return b"data: " + orjson.dumps(document) + b"\n\n"


def chunk(delta: Json, finish: str | None = None, **more: Any) -> bytes:
    """A chunk of a chat stream with one choice."""
    return frame({"id": "chatcmpl-odd", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})


def chat_stream(deltas: list[Json], *, finish: str = "stop", last: bytes = DONE) -> bytes:
    """A whole stream of these deltas."""
    usage = frame({"id": "chatcmpl-odd", "choices": [], "usage": USAGE})
    return b"".join([chunk({"role": "assistant"}), *map(chunk, deltas), chunk({}, finish), usage, last])


class OddStreamsTestCase(ChainTestCase):
    """A gateway, with or without tools, whose provider sends what the test says."""

    def with_tools(self) -> None:
        self.toolbox = ScriptedToolbox("now", "tides")
        self.start(toolbox=self.toolbox)

    def say(self, *streams: bytes, headers: Json = EVENT_STREAM) -> None:
        """Let the provider answer the next requests with these bodies, each cut into pieces."""
        cut = [[stream[at : at + 97] for at in range(0, len(stream), 97)] for stream in streams]
        self.provider.say(*[RawReply(headers=headers, chunks=pieces) for pieces in cut])

    def tool_rows(self) -> list[tuple[str | None, str, Any, bool]]:
        """The calls that were recorded of the last exchange."""
        return [(row.tool_call_id, row.tool, row.input, row.injected) for row in self.exchanges[-1].tools]


class CallsTests(OddStreamsTestCase):
    """Tool calls of chat completions in every form that providers give them."""

    def test_without_injected_tools(self) -> None:
        """The client gets the provider's bytes, and the calls are recorded as the model made them."""
        for dialect in DIALECTS:
            told = chat_stream([{"tool_calls": pieces} for pieces in dialect([OWN, *HIDDEN])], finish="tool_calls")
            self.say(told)
            answer = self.answer(CHAT, stream=True)
            self.assertEqual((bytes(answer.body), answer.whole), (told, True), dialect.__name__)
            expected = [("c1", "look", {"at": "it"}, False)]
            expected += [("c2", "bmcp_sky_tides", {"at": "hidden-argument"}, False), ("c3", "bmcp_sky_now", {}, False)]
            self.assertEqual(self.tool_rows(), expected, dialect.__name__)
            self.assertEqual(self.exchanges[-1].end, ("completed", 200))

    def test_with_injected_tools(self) -> None:
        """The gateway's calls are run, without a trace at the client, and the answer goes on."""
        self.with_tools()
        for dialect in DIALECTS:
            if dialect is with_names_in_pieces:
                continue
            self.say(chat_stream([{"tool_calls": pieces} for pieces in dialect(HIDDEN)], finish="tool_calls"))
            self.provider.say(WORDS)
            answer = self.answer(CHAT, stream=True)
            for hidden in (b"tool_calls", b"bmcp_", b"hidden-argument", RESULT.encode()):
                self.assertNotIn(hidden, bytes(answer.body), dialect.__name__)
            self.assertIn(b"High", bytes(answer.body))
            self.assertEqual((answer.body.count(DONE), answer.whole), (1, True))
            expected = [("c2", "tides", {"at": "hidden-argument"}, True), ("c3", "now", {}, True)]
            self.assertEqual(sorted(self.tool_rows(), key=str), expected, dialect.__name__)
            self.assertEqual(self.exchanges[-1].end, ("completed", 200))

    def test_reason_in_every_chunk(self) -> None:
        """A finish reason in every chunk, or an empty one, does not tear a call."""
        for reason in ("", "stop"):
            self.say(self._with_reasons(reason, OWN))
            self.assertTrue(self.answer(CHAT, stream=True).whole)
            self.assertEqual(self.tool_rows(), [("c1", "look", {"at": "it"}, False)])
        self.with_tools()
        for reason in ("", "stop"):
            self.say(self._with_reasons(reason, HIDDEN[0]))
            self.provider.say(WORDS)
            self.assertIn(b"High", bytes(self.answer(CHAT, stream=True).body))
            self.assertEqual(self.tool_rows(), [("c2", "tides", {"at": "hidden-argument"}, True)])
        self.assertEqual({exchange.end for exchange in self.exchanges}, {("completed", 200)})

    def _with_reasons(self, reason: str, call: tuple[str, str, str]) -> bytes:
        deltas = [
            {"content": "I "},
            {"content": "look."},
            *({"tool_calls": pieces} for pieces in as_documented([call])),
        ]
        return b"".join(chunk(delta, reason) for delta in deltas) + chunk({}, "stop") + DONE


class NoDoneTests(OddStreamsTestCase):
    """Chat streams without ``[DONE]``."""

    def test_complete(self) -> None:
        """With finish reason and figures, or a finish reason and HTTP's own end, nothing is missing."""
        for told in (chat_stream([{"content": "Hm."}], last=b""), chunk({"content": "Hm."}) + chunk({}, "stop")):
            self.say(told)
            answer = self.answer(CHAT, stream=True, stream_options={"include_usage": True})
            self.assertEqual((bytes(answer.body), answer.whole), (told, True))
            exchange = self.exchanges[-1]
            self.assertEqual((exchange.end, exchange.figures["metadata"]["complete"]), (("completed", 200), True))

    def test_incomplete(self) -> None:
        """Without a finish reason the answer was cut, however its body ended."""
        self.say(chunk({"content": "Hm."}) + frame({"id": "chatcmpl-odd", "choices": [], "usage": USAGE}))
        self.answer(CHAT, stream=True)
        self.assertEqual((self.exchange.end, self.exchange.figures["metadata"]["complete"]), (("failed", 200), False))

    def test_injected_tools(self) -> None:
        """The answer goes on after a call, with keep-alives while the tool runs."""
        self.with_tools()
        self.toolbox.slow = True
        calls = [{"tool_calls": pieces} for pieces in as_documented(HIDDEN)]
        for first in (
            chat_stream(calls, finish="tool_calls", last=b""),
            chat_stream(calls, finish="tool_calls", last=b"")[:-2],
        ):
            self.say(first, chat_stream([{"content": "High water."}], last=b""))
            client = self.ask(CHAT, stream=True)
            self.network.wait(15)
            self.assertIn(b": keep-alive\n", bytes(client.answer.body))
            self.toolbox.finish()
            self.network.wait(2)
            self.assertTrue(client.answer.whole)
            self.assertIn(b"High water.", bytes(client.answer.body))
            self.assertEqual(self.exchanges[-1].end, ("completed", 200))
            self.assertEqual([row.metadata["complete"] for row in self.exchanges[-1].usages], [True, True])
