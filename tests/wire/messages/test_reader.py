"""Anthropic's Messages API, event by event."""

import json

from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import BadRequest, UpstreamBroke
from aibridge.wire.formats import Thought, ToolCall
from aibridge.wire.messages.reader import MESSAGES
from aibridge.wire.sse import frame_data, make_frame

from ..streams import MESSAGES_SAMPLE, read


def events(*items):
    """A stream of these events."""
    return b"".join(make_frame(json.dumps(item).encode(), item.get("type", "").encode()) for item in items)


def start(block, **more):
    return {"type": "content_block_start", "content_block": block, **more}


def delta(kind, **more):
    return {"type": "content_block_delta", "delta": {"type": kind, **more}}


STOP = {"type": "content_block_stop"}
END = {"type": "message_stop"}


def answer(*items):
    return read(MESSAGES_SAMPLE, events(*items))


class UsageTests(SynchronousTestCase):
    """Figures of a stream."""

    def _usage(self, first, *later):
        deltas = [{"type": "message_delta", "delta": {}, "usage": usage} for usage in later]
        return answer({"type": "message_start", "message": {"id": "m", "usage": first}}, *deltas, END).usage

    def test_cumulative(self):
        """The last output count stands; nothing is added up."""
        usage = self._usage({"input_tokens": 5, "output_tokens": 1}, {"output_tokens": 10}, {"output_tokens": 30})
        self.assertEqual(usage, {"input_tokens": 5, "output_tokens": 30})

    def test_replaced_where_carried(self):
        """A delta's counters replace those of the start, unless they are null or absent."""
        first = {"input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 1}
        usage = self._usage(first, {"input_tokens": 6, "cache_read_input_tokens": None, "output_tokens": 9})
        self.assertEqual(usage, {"input_tokens": 6, "cache_read_input_tokens": 7, "output_tokens": 9})
        self.assertEqual(self._usage(first, None, 7, {}), first)

    def test_cut(self):
        """Of a stream that was cut the figures so far are there."""
        cut = answer(
            {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 5, "output_tokens": 1}}}
        )
        self.assertEqual((cut.usage, cut.finished), ({"input_tokens": 5, "output_tokens": 1}, False))


class ToolTests(SynchronousTestCase):
    """Calls of tools."""

    def test_interleaved(self):
        """Pieces find their block by its index, and calls are told in the order in which they end."""
        got = answer(
            start({"type": "tool_use", "id": "a", "name": "x", "input": {}}, index=0),
            start({"type": "tool_use", "id": "b", "name": "y", "input": {}}, index=1),
            delta("input_json_delta", partial_json='{"n"') | {"index": 1},
            delta("input_json_delta", partial_json="[1]") | {"index": 0},
            delta("input_json_delta", partial_json=":2}") | {"index": 1},
            STOP | {"index": 1},
            STOP | {"index": 0},
            END,
        )
        self.assertEqual(got.tool_calls, [ToolCall("b", "y", {"n": 2}), ToolCall("a", "x", [1])])

    def test_bad_arguments(self):
        """Arguments that are no JSON are kept as the text that came."""
        for text in ('{"n":', "NaN", "{'a':1}", "\ud800"):
            got = answer(
                start({"type": "tool_use", "id": "a", "name": "x", "input": {}}, index=0),
                delta("input_json_delta", partial_json=text) | {"index": 0},
                STOP | {"index": 0},
                END,
            )
            self.assertEqual([call.input for call in got.tool_calls], [text])

    def test_servers_of_the_provider(self):
        """A call of a tool of an MCP server that the provider runs is recorded with the server's name."""
        block = {"type": "mcp_tool_use", "id": "m1", "name": "echo", "server_name": "sky", "input": {"a": 1}}
        reader = MESSAGES.reader({})
        reader.read_body({"type": "message", "content": [block]}, b"")
        metadata = {"type": "mcp_tool_use", "server_name": "sky"}
        self.assertEqual(reader.answer.tool_calls, [ToolCall("m1", "echo", {"a": 1}, metadata)])

    def test_given_at_once(self):
        """A call whose input comes with its start, and no pieces, has that."""
        got = answer(
            start({"type": "tool_use", "id": "a", "name": "x", "input": {"n": 1}}, index=0), STOP | {"index": 0}, END
        )
        self.assertEqual(got.tool_calls, [ToolCall("a", "x", {"n": 1})])

    def test_end_left_out(self):
        """A call whose block never ends is told when the answer ends."""
        got = answer(start({"type": "tool_use", "id": "a", "name": "x", "input": {}}, index=0), END)
        self.assertEqual(got.tool_calls, [ToolCall("a", "x", {})])

    def test_half_a_call(self):
        """Of an answer that was cut amid a call that call is not told: nobody could run it."""
        self.assertEqual(
            answer(start({"type": "tool_use", "id": "a", "name": "x", "input": {}}, index=0)).tool_calls, []
        )


class ThoughtTests(SynchronousTestCase):
    """The model's visible thinking."""

    def test_omitted(self):
        """A block that shows nothing, or is redacted, is no thought."""
        got = answer(
            start({"type": "thinking", "thinking": "", "signature": ""}, index=0),
            delta("signature_delta", signature="c2ln") | {"index": 0},
            STOP | {"index": 0},
            start({"type": "redacted_thinking", "data": "x"}, index=1),
            STOP | {"index": 1},
            END,
        )
        self.assertEqual(got.thoughts, [])

    def test_several(self):
        """Each thinking block is one thought, with the text of its start event."""
        got = answer(
            start({"type": "thinking", "thinking": "One"}, index=0),
            delta("thinking_delta", thinking=", two.") | {"index": 0},
            STOP | {"index": 0},
            start({"type": "thinking", "thinking": "Three."}, index=2),
            STOP | {"index": 2},
            END,
        )
        self.assertEqual(got.thoughts, [Thought("One, two.", "thinking"), Thought("Three.", "thinking")])


class RequestTests(SynchronousTestCase):
    """Requests, and the gateway's own errors."""

    def test_unchanged(self):
        """The request stays as it is."""
        body = b'{"stream": true}'
        self.assertIs(MESSAGES.amend(body, {"stream": True}), body)

    def test_error_frame(self):
        """An error in mid-stream is an event of this API's own, on one line."""
        frame = MESSAGES.error_frame(UpstreamBroke("it\nbroke\u2028off"), 7)
        self.assertTrue(frame.startswith(b"event: error\ndata: {"))
        told = json.loads(frame_data(frame))
        self.assertEqual(told, {"type": "error", "error": {"type": "api_error", "message": "it\nbroke\u2028off"}})
        self.assertEqual(frame.count(b"\n"), 3)
        self.assertEqual(answer(told).error, "api_error")
        self.assertEqual(read(MESSAGES_SAMPLE, MESSAGES.error_frame(BadRequest("x"), 7)).error, "invalid_request_error")
