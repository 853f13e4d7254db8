"""OpenAI's Responses API, event by event."""

import json

from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import UpstreamBroke
from aibridge.wire.formats import Thought, ToolCall
from aibridge.wire.responses.reader import RESPONSES
from aibridge.wire.sse import frame_data, make_frame

from ..streams import RESPONSES_SAMPLE, read


def events(*items):
    """A stream of these events."""
    return b"".join(make_frame(json.dumps(item).encode(), item["type"].encode()) for item in items)


def answer(*items):
    return read(RESPONSES_SAMPLE, events(*items))


def done(item):
    return {"type": "response.output_item.done", "item": item}


def ended(kind="completed", **response):
    return {"type": f"response.{kind}", "response": {"id": "r", "status": kind, **response}}


class ItemTests(SynchronousTestCase):
    """Items are told once, although they come twice."""

    def test_once(self):
        """An item that was streamed and stands in the whole is one; one that only the whole has is told too."""
        call = {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "x", "arguments": "{}"}
        other = call | {"id": "fc_2", "call_id": "b"}
        got = answer(done(call), ended(output=[call, other]))
        self.assertEqual(got.tool_calls, [ToolCall("a", "x", {}), ToolCall("b", "x", {})])

    def test_ids_left_out(self):
        """Calls without an item id are known by their call's id."""
        call = {"type": "function_call", "call_id": "a", "name": "x", "arguments": ""}
        self.assertEqual(answer(done(call), ended(output=[call])).tool_calls, [ToolCall("a", "x", {})])

    def test_kinds_of_calls(self):
        """Functions, custom tools, and the provider's own tools, which have no name but their type."""
        items = {
            "function_call": {"name": "x", "arguments": "not json", "namespace": "mcp__y"},
            "custom_tool_call": {"name": "apply_patch", "input": "{}"},
            "web_search_call": {"action": {"type": "search", "query": "q"}},
            "local_shell_call": {"action": {"command": ["ls"]}},
            "mcp_call": {"name": "m", "arguments": '{"a":1}'},
            "tool_search_call": {"arguments": {"query": "q"}},
            "image_generation_call": {},
        }
        output = [{"type": kind, "id": kind, "call_id": f"c_{kind}", **item} for kind, item in items.items()]
        calls = answer(ended(output=output)).tool_calls
        self.assertEqual(
            [(call.name, call.input, call.metadata) for call in calls],
            [
                ("x", "not json", {"namespace": "mcp__y"}),
                ("apply_patch", "{}", {"type": "custom_tool_call"}),
                ("web_search", {"type": "search", "query": "q"}, {"type": "web_search_call"}),
                ("local_shell", {"command": ["ls"]}, {"type": "local_shell_call"}),
                ("m", {"a": 1}, {"type": "mcp_call"}),
                ("tool_search", {"query": "q"}, {"type": "tool_search_call"}),
                ("image_generation", None, {"type": "image_generation_call"}),
            ],
        )
        self.assertEqual({call.id for call in calls}, {f"c_{kind}" for kind in items})

    def test_thoughts(self):
        """Thoughts are the parts of a summary, and commentary; not the answer itself, nor encrypted reasoning."""
        message = {"type": "message", "content": [{"type": "output_text", "text": "said"}]}
        got = answer(
            done({"id": "1", "type": "reasoning", "summary": [{"text": "a"}, {"text": ""}, {"text": "b"}]}),
            done({"id": "2", "type": "reasoning", "summary": [], "encrypted_content": "x", "content": None}),
            done(message | {"id": "3", "phase": "commentary"}),
            done(message | {"id": "4", "phase": "final_answer"}),
            done(message | {"id": "5"}),
            ended(),
        )
        thoughts = [Thought("a", "reasoning_summary"), Thought("b", "reasoning_summary"), Thought("said", "commentary")]
        self.assertEqual(got.thoughts, thoughts)


class EndingTests(SynchronousTestCase):
    """The end of a response."""

    def test_ends(self):
        """Completed, incomplete and cancelled ones are whole and have no error."""
        for kind in ("completed", "incomplete", "cancelled"):
            got = answer(ended(kind, usage={"output_tokens": 3}))
            self.assertEqual((got.finished, got.error, got.usage), (True, None, {"output_tokens": 3}))

    def test_failed(self):
        """A failed one ended in order too, so its figures are final; its error is known by its code."""
        got = answer(ended("failed", error={"code": "server_error", "message": "x"}, usage={"output_tokens": 3}))
        self.assertEqual((got.finished, got.error, got.usage), (True, "server_error", {"output_tokens": 3}))
        self.assertEqual(answer(ended("failed", error=None)).error, "error")

    def test_error_event(self):
        """An error event is no end in order, in either of its forms."""
        flat = answer({"type": "error", "code": "ERR", "message": "x", "param": None})
        nested = answer({"type": "error", "error": {"type": "invalid_request_error", "code": "x", "message": "y"}})
        self.assertEqual((flat.error, flat.finished), ("ERR", False))
        self.assertEqual((nested.error, nested.finished), ("invalid_request_error", False))

    def test_id(self):
        """The id is known from the first event on, and stays where a later one has none."""
        created = {"type": "response.created", "response": {"id": "r"}}
        self.assertEqual(answer(created, {"type": "response.in_progress", "response": {}}).response_id, "r")
        self.assertEqual(answer(created, {"type": "response.completed"}).response_id, "r")


class RequestTests(SynchronousTestCase):
    """Requests, and the gateway's own errors."""

    def test_unchanged(self):
        """The request stays as it is."""
        body = b'{"stream": true}'
        self.assertIs(RESPONSES.amend(body, {"stream": True}), body)

    def test_error_frame(self):
        """An error in mid-stream is this API's error event."""
        frame = RESPONSES.error_frame(UpstreamBroke("it\nbroke"))
        event = {"type": "error", "code": "upstream_broke_off", "message": "it\nbroke", "param": None}
        self.assertEqual(json.loads(frame_data(frame)), event)
        self.assertEqual(read(RESPONSES_SAMPLE, frame).error, "upstream_broke_off")
