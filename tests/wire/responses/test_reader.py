"""OpenAI's Responses API, event by event."""

import json
from itertools import count

from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import UpstreamBroke
from aibridge.wire.formats import Thought, ToolCall
from aibridge.wire.responses.reader import RESPONSES
from aibridge.wire.sse import frame_data, make_frame

from ..streams import RESPONSES_SAMPLE, frames, read

_ITEM_TYPES = ("reasoning", "message", "function_call", "custom_tool_call", "web_search_call")


def events(*items):
    """A stream of these events."""
    return b"".join(make_frame(json.dumps(item).encode(), item["type"].encode()) for item in items)


def answer(*items):
    return read(RESPONSES_SAMPLE, events(*items))


def done(item):
    return {"type": "response.output_item.done", "item": item}


def ended(kind="completed", **response):
    return {"type": f"response.{kind}", "response": {"id": "r", "status": kind, **response}}


def events_of(stream):
    """The events of a stream, parsed."""
    return [json.loads(frame_data(frame)) for frame in frames(stream) if frame_data(frame)]


def rotate_ids(told):
    """The events with another id for an item wherever it stands."""
    numbers = count()

    def rotated(value):
        if isinstance(value, dict):
            is_item = value.get("type") in _ITEM_TYPES
            return {
                key: f"rotated_{next(numbers)}" if key == "item_id" or (key == "id" and is_item) else rotated(each)
                for key, each in value.items()
            }
        return [rotated(each) for each in value] if isinstance(value, list) else value

    return rotated(told)


def without_item_ids(told):
    """The events without any item's id."""
    return json.loads(
        json.dumps(rotate_ids(told)),
        object_pairs_hook=lambda pairs: {
            key: value for key, value in pairs if not (key in ("id", "item_id") and str(value).startswith("rotated_"))
        },
    )


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

    def test_rotating_ids(self):
        """Items that have another id in each event, or none, are told once: by their call's id, else by their place."""
        made = events_of(RESPONSES_SAMPLE.stream)
        for change in (rotate_ids, without_item_ids):
            for without in ((), ("output_index",)):
                changed = change([{k: v for k, v in event.items() if k not in without} for event in made])
                got = answer(*changed)
                calls = [(call.name, call.input) for call in got.tool_calls]
                self.assertEqual(calls, [(call.name, call.input) for call in RESPONSES_SAMPLE.tool_calls])
                self.assertEqual(got.thoughts, RESPONSES_SAMPLE.thoughts)
                self.assertEqual([call.id for call in got.tool_calls[:2]], ["call_oslo", "call_patch"])

    def test_same_at_other_places(self):
        """Items without ids that say the same are several if they stand at several places."""
        thought = {"type": "reasoning", "summary": [{"text": "a"}]}
        search = {"type": "file_search_call", "queries": ["q"]}
        told = [done(item) | {"output_index": at} for at, item in enumerate((thought, search, thought, search))]
        got = answer(*told, ended(output=[thought, search, thought, search]))
        self.assertEqual((len(got.thoughts), len(got.tool_calls)), (2, 2))

    def test_all_at_one_place(self):
        """Items that all say the same index are told apart by what they say."""
        items = [{"type": "reasoning", "id": name, "summary": [{"text": name}]} for name in "ab"]
        got = answer(*[done(item) | {"output_index": 0} for item in items], ended(output=items))
        self.assertEqual([thought.content for thought in got.thoughts], ["a", "b"])

    def test_nested_deeply(self):
        """A call of a provider's tool whose input only the fastest parser reads is recorded, once."""
        deep = b"[" * 1000 + b"]" * 1000
        item = (
            b'{"type":"response.output_item.done","output_index":0,"item":{"type":"web_search_call","action":%b}}'
            % deep
        )
        self.assertEqual(len(read(RESPONSES_SAMPLE, make_frame(item) * 2).tool_calls), 1)

    def test_kinds_of_calls(self):
        """Functions, custom tools, and the provider's own tools, which have no name but their type."""
        items = {
            "function_call": {"name": "x", "arguments": "not json", "namespace": "mcp__y"},
            "custom_tool_call": {"name": "apply_patch", "input": "{}"},
            "web_search_call": {"action": {"type": "search", "query": "q"}},
            "local_shell_call": {"action": {"command": ["ls"]}},
            "mcp_call": {"name": "m", "arguments": '{"a":1}', "server_label": "sky"},
            "tool_search_call": {"arguments": {"query": "q"}},
            "image_generation_call": {},
            "code_interpreter_call": {"code": "1 + 1", "container_id": "c", "outputs": None},
            "file_search_call": {"queries": ["a", "b"], "results": None},
            "computer_call": {"action": {"type": "click"}, "pending_safety_checks": []},
            "shell_call": {"action": {"commands": ["ls"]}},
            "apply_patch_call": {"operation": {"type": "delete_file", "path": "x"}},
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
                ("m", {"a": 1}, {"type": "mcp_call", "server_label": "sky"}),
                ("tool_search", {"query": "q"}, {"type": "tool_search_call"}),
                ("image_generation", None, {"type": "image_generation_call"}),
                ("code_interpreter", "1 + 1", {"type": "code_interpreter_call"}),
                ("file_search", ["a", "b"], {"type": "file_search_call"}),
                ("computer", {"type": "click"}, {"type": "computer_call"}),
                ("shell", {"commands": ["ls"]}, {"type": "shell_call"}),
                ("apply_patch", {"type": "delete_file", "path": "x"}, {"type": "apply_patch_call"}),
            ],
        )
        self.assertEqual({call.id for call in calls}, {f"c_{kind}" for kind in items})

    def test_web_searches(self):
        """Searches are counted once for each item, streamed or not; pages that are opened or read are no searches."""
        actions = ({"type": "search", "query": "a"}, {"type": "search", "query": "a"}, {"type": "open_page"}, None)
        items = [{"type": "web_search_call", "id": f"ws_{n}", "action": each} for n, each in enumerate(actions)]
        items.append({"type": "web_search_call", "id": "ws_9", "action": {"type": "find_in_page", "pattern": "x"}})
        usage = {"input_tokens": 1}
        streamed = [{**done(item), "output_index": at} for at, item in enumerate(items)]
        for told in (streamed, [*streamed, ended(output=items, usage=usage)], [ended(output=items, usage=usage)]):
            self.assertEqual(answer(*told).counters, {"web_search_requests": 3})
        self.assertEqual(answer(ended(output=items, usage=usage)).usage, usage)
        self.assertEqual(answer(ended(output=[{"type": "file_search_call", "id": "f"}])).counters, {})

    def test_asked_of_other_tools(self):
        """The prompt of an image that the provider made, and a program that calls tools, are calls too."""
        image = {
            "type": "image_generation_call",
            "id": "ig",
            "action": "edit",
            "revised_prompt": "A port.",
            "result": "AA",
        }
        program = {"type": "program", "id": "p", "call_id": "c", "code": "tides()"}
        metadata = [{"type": "image_generation_call"}, {"type": "program"}]
        calls = answer(done(image), done(program), ended(output=[image, program])).tool_calls
        self.assertEqual(
            [(call.name, call.input) for call in calls], [("image_generation", "A port."), ("program", "tides()")]
        )
        self.assertEqual([call.metadata for call in calls], metadata)

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

    def test_whole_thoughts(self):
        """Models whose reasoning is open show its text, with or without a summary."""
        text = {"type": "reasoning_text", "text": "whole"}
        items = [{"id": "1", "type": "reasoning", "summary": [], "content": [text]}]
        items.append({"id": "2", "type": "reasoning", "summary": [{"text": "short"}], "content": [text]})
        got = answer(*map(done, items), ended(output=items)).thoughts
        whole = Thought("whole", "reasoning_text")
        self.assertEqual(got, [whole, Thought("short", "reasoning_summary"), whole])


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
        frame = RESPONSES.error_frame(UpstreamBroke("it\nbroke"), 7)
        event = {"type": "error", "code": "upstream_broke_off", "message": "it\nbroke", "param": None}
        event["sequence_number"] = 7
        self.assertEqual(json.loads(frame_data(frame)), event)
        self.assertEqual(read(RESPONSES_SAMPLE, frame).error, "upstream_broke_off")
