"""OpenAI's Chat Completions API, chunk by chunk."""

import json

import orjson
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import BadRequest, UpstreamBroke
from aibridge.wire.chat.reader import CHAT
from aibridge.wire.formats import Thought, ToolCall
from aibridge.wire.sse import frame_data, make_frame
from aibridge.wire.tap import StreamTap

from ..streams import CHAT_SAMPLE, LIMIT, fixture, frames, read, replay

DONE = b"data: [DONE]\n\n"


def chunk(delta=None, finish=None, index=0, **more):
    """A frame with one choice."""
    body = {"id": "c", "choices": [{"index": index, "delta": delta or {}, "finish_reason": finish}], **more}
    return make_frame(orjson.dumps(body))


def piece(arguments, index=0, **more):
    """A delta with a piece of a call."""
    function = {"arguments": arguments} | ({"name": more.pop("name")} if "name" in more else {})
    return {"tool_calls": [{"index": index, "function": function, **more}]}


def answer(*stream):
    return read(CHAT_SAMPLE, b"".join(stream))


class ToolTests(SynchronousTestCase):
    """Calls of tools, in pieces."""

    def test_parallel(self):
        """Pieces find their call by its index, in every choice by itself."""
        got = answer(
            chunk(piece("", 0, id="a", name="x", type="function")),
            chunk(piece('{"n"', 1, id="b", name="y", type="function")),
            chunk(piece("[1]", 0)),
            chunk(piece(":2}", 1)),
            chunk(piece("{}", 0, id="d", name="z", type="function"), index=1),
            chunk({}, "tool_calls"),
            chunk({}, "tool_calls", index=1),
            DONE,
        )
        self.assertEqual(
            got.tool_calls, [ToolCall("a", "x", [1]), ToolCall("b", "y", {"n": 2}), ToolCall("d", "z", {})]
        )

    def test_custom(self):
        """A custom tool's input is text, even where it looks like JSON."""
        custom = {"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "x", "input": "{}"}}]}
        self.assertEqual(
            answer(chunk(custom), chunk({}, "tool_calls"), DONE).tool_calls,
            [ToolCall("a", "x", "{}", {"type": "custom"})],
        )

    def test_old_function_call(self):
        """The older form, one call without an id."""
        first, second = {"function_call": {"name": "x", "arguments": '{"n"'}}, {"function_call": {"arguments": ":1}"}}
        got = answer(chunk(first), chunk(second), chunk({}, "function_call"), DONE)
        self.assertEqual(got.tool_calls, [ToolCall(None, "x", {"n": 1})])

    def test_old_function_call_beside_text(self):
        """A call in the older form is found in a chunk that begins like a text chunk."""
        call = {"content": "", "function_call": {"name": "x", "arguments": "{}"}}
        got = answer(chunk({"content": "a"}), chunk(call), chunk({}, "function_call"), DONE)
        self.assertEqual(got.tool_calls, [ToolCall(None, "x", {})])

    def test_bad_arguments(self):
        """Arguments that are no JSON are kept as the text that came."""
        got = answer(chunk(piece('{"n":', id="a", name="x")), chunk({}, "length"), DONE)
        self.assertEqual(got.tool_calls, [ToolCall("a", "x", '{"n":')])

    def test_no_finish_reason(self):
        """Calls are whole where the stream is, with or without a reason."""
        self.assertEqual(answer(chunk(piece("{}", id="a", name="x")), DONE).tool_calls, [ToolCall("a", "x", {})])

    def test_cut(self):
        """Of an answer that was cut amid a call that call is not told."""
        got = answer(chunk(piece("{", id="a", name="x")))
        self.assertEqual((got.tool_calls, got.finished), ([], False))


class ThoughtTests(SynchronousTestCase):
    """The model's thoughts, as providers show them beside the answer's text."""

    def test_members(self):
        """Thoughts in either member are put together, also beside empty text, and told once if they come in both."""
        cases = {
            ("reasoning_content",): "reasoning_content",
            ("reasoning",): "reasoning",
            ("reasoning", "reasoning_content"): "reasoning_content",
        }
        for members, source in cases.items():
            deltas = [{"content": "", **dict.fromkeys(members, text)} for text in ("Two ", "ports.")]
            told = [chunk({"content": "a"}), *map(chunk, deltas), chunk({"content": "b"}), chunk({}, "stop"), DONE]
            self.assertEqual(answer(*told).thoughts, [Thought("Two ports.", source)])

    def test_in_the_content(self):
        """Mistral puts thoughts into parts of the content."""
        parts = [[{"type": "thinking", "thinking": [{"type": "text", "text": text}]}] for text in ("Two ", "ports.")]
        told = [*(chunk({"content": part}) for part in parts), chunk({"content": "a"}), chunk({}, "stop"), DONE]
        self.assertEqual(answer(*told).thoughts, [Thought("Two ports.", "thinking")])

    def test_odd_values(self):
        """Null, empty text and objects are no thoughts."""
        deltas = [{"reasoning": None, "reasoning_content": ""}, {"reasoning": {"x": 1}}]
        self.assertEqual(answer(*map(chunk, deltas), chunk({}, "stop"), DONE).thoughts, [])

    def test_body(self):
        """The thoughts of a whole completion are told too."""
        message = {"role": "assistant", "content": "a", "reasoning_content": "Hm."}
        reader = CHAT.reader({})
        reader.read_body({"id": "c", "choices": [{"index": 0, "message": message}]}, b"")
        self.assertEqual(reader.answer.thoughts, [Thought("Hm.", "reasoning_content")])

    def test_reason_in_every_chunk(self):
        """A finish reason in every chunk does not tear a thought."""
        told = [chunk({"reasoning": text}, "stop") for text in ("Two ", "ports.")]
        self.assertEqual(answer(*told, DONE).thoughts, [Thought("Two ports.", "reasoning")])
        self.assertEqual(answer(*told).thoughts, [Thought("Two ports.", "reasoning")])


class IdTests(SynchronousTestCase):
    """The answer's id."""

    def test_late(self):
        """An id that only later chunks have is read, though chunks of text are mostly not."""
        text = b'{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]%b}'
        first, late = make_frame(text % b',"id":""'), make_frame(text % b',"id":"late"')
        self.assertEqual(answer(first, first, late, DONE).response_id, "late")

    def test_error(self):
        """A chunk with an error has an id too."""
        self.assertEqual(answer(make_frame(b'{"id":"c","error":{"code":"x"}}')).response_id, "c")


class EndingTests(SynchronousTestCase):
    """The end of a stream."""

    def test_nearly(self):
        """From the finish reason on only figures are missing."""
        tap = CHAT_SAMPLE.tap()
        for frame, ending in (
            (chunk({"content": "a"}), False),
            (chunk({"content": "b"}), False),
            (chunk({}, "stop"), True),
        ):
            tap.feed(frame)
            self.assertEqual(tap.answer.ending, ending)
        self.assertFalse(tap.answer.finished)

    def test_several_choices(self):
        """All choices must have finished."""
        tap = CHAT_SAMPLE.tap()
        for index in (0, 1):
            tap.feed(chunk({"content": "a"}, index=index))
        tap.feed(chunk({}, "stop", index=0))
        self.assertFalse(tap.answer.ending)
        tap.feed(chunk({}, "stop", index=1))
        self.assertTrue(tap.answer.ending)

    def test_reason_in_every_chunk(self):
        """A client can't know the end by a finish reason that every chunk has; an empty one is none."""
        for reason in ("", "stop"):
            tap = CHAT_SAMPLE.tap()
            tap.feed(chunk({"content": "a"}, reason) + chunk({"content": "b"}, reason))
            self.assertFalse(tap.answer.ending)
            tap.feed(DONE)
            self.assertTrue(tap.answer.finished)

    def test_no_done(self):
        """Without the mark an answer is whole with a finish reason, and its figures or the proper end of its body."""
        usage = chunk({}, usage={"completion_tokens": 1})
        for told, whole, finished in (
            (chunk({}, "stop"), True, True),
            (chunk({}, "stop"), False, False),
            (chunk({}, "stop") + usage, False, True),
            (chunk({"content": "a"}) + usage, True, False),
            (b"", True, False),
        ):
            tap = CHAT_SAMPLE.tap()
            tap.feed(told)
            tap.close(whole)
            self.assertEqual(tap.answer.finished, finished)

    def test_done(self):
        """The mark of the end is known as the SDKs know it: by how it begins."""
        for mark in (b"data: [DONE]\n\n", b"data:[DONE]\n\n", b"data: [DONE] \r\n\r\n"):
            tap = CHAT_SAMPLE.tap()
            self.assertEqual(tap.feed(mark), b"")
            self.assertTrue(tap.answer.finished)

    def test_error_beside_choices(self):
        """An error ends the stream also where it comes in a chunk like all others."""
        frame = chunk({"content": ""}, "error", error={"code": "overloaded", "message": "x"})
        tap = CHAT_SAMPLE.tap()
        self.assertEqual(tap.feed(chunk({"content": "a"}) + frame), chunk({"content": "a"}))
        self.assertEqual(tap.answer.error, "overloaded")


class UsageChunkTests(SynchronousTestCase):
    """The chunk with the figures, which only those get who asked for it."""

    def _replay(self, request, stream):
        tap = StreamTap(CHAT.reader(request), LIMIT)
        passed, held = replay(tap, [stream])
        self.assertEqual(CHAT.count_tokens(tap.answer.usage).output, 80)
        return passed + held

    def test_asked_for(self):
        """The chunk passes to a client that asked for it."""
        stream = fixture("chat")
        self.assertEqual(self._replay({"stream": True, "stream_options": {"include_usage": True}}, stream), stream)

    def test_not_asked_for(self):
        """The chunk is read, and is the only one that a client which did not ask for it doesn't get."""
        *before, usage, done = frames(fixture("chat"))
        self.assertIn(b'"choices":[]', usage)
        for options in ({}, {"stream_options": None}, {"stream_options": {"include_usage": False}}):
            self.assertEqual(self._replay({"stream": True, **options}, fixture("chat")), b"".join([*before, done]))

    def test_last_of_all(self):
        """The chunk is left out at the end of a stream too, with or without its blank line."""
        *before, usage, _ = frames(fixture("chat"))
        for stream in (b"".join([*before, usage]), b"".join([*before, usage])[:-2]):
            self.assertEqual(self._replay({"stream": True}, stream), b"".join(before))

    def test_with_choices(self):
        """Figures that come along with a choice pass: that chunk is not the gateway's."""
        frame = chunk({}, "stop", usage={"completion_tokens": 80})
        self.assertEqual(self._replay({"stream": True}, frame + DONE), frame + DONE)
        texts = chunk({"content": "a"}) + chunk({"content": "b"}, usage={"completion_tokens": 80})
        self.assertEqual(self._replay({"stream": True}, texts), texts)

    def test_without_figures(self):
        """A chunk without choices that has no figures passes, such as a content filter's first."""
        first = make_frame(b'{"choices":[],"prompt_filter_results":[],"usage":null}')
        stream = fixture("chat")
        request = {"stream": True, "stream_options": {"include_usage": True}}
        self.assertEqual(self._replay(request, first + stream), first + stream)


class AmendTests(SynchronousTestCase):
    """A stream is asked for its usage, and nothing else of the request changes."""

    def amend(self, body):
        return CHAT.amend(body, orjson.loads(body.removeprefix(b"\xef\xbb\xbf")))

    def test_untouched(self):
        """A request that isn't streamed, or asks already, goes as it is: the very same bytes."""
        for body in (
            b'{"model": "m"}',
            b'{"stream":false}',
            b'{"stream":1}',
            b'{"stream":"true"}',
            b'{"stream":true,"stream_options":{"include_usage":true}}',
            b'{"stream":true,"stream":false}',
            b'{"stream":true,"stream_options":"x"}',
            b'{"stream":true,"stream_options":[]}',
            b'{"stream":true,"stream_options":{},"stream_options":{ "include_usage" : true }}',
        ):
            self.assertIs(self.amend(body), body)

    def test_asked(self):
        """Only ``stream_options`` changes, and of it only ``include_usage``."""
        cases = {
            b'{"stream":true}': b'{"stream":true,"stream_options":{"include_usage":true}}',
            b'{ "stream" : true }': b'{ "stream" : true,"stream_options":{"include_usage":true} }',
            b'\xef\xbb\xbf{"stream":true}': b'\xef\xbb\xbf{"stream":true,"stream_options":{"include_usage":true}}',
            b'{"stream_options":null ,"stream":true}': b'{"stream_options":{"include_usage":true} ,"stream":true}',
            b'{"stream_options":{},"stream":true}': b'{"stream_options":{"include_usage":true},"stream":true}',
            b'{"stream_options": {"include_usage" :false, "x":1.50},"stream":true}': (
                b'{"stream_options": {"include_usage" :true, "x":1.50},"stream":true}'
            ),
            b'{"stream_options":{"include_obfuscation":false},"stream":true}': (
                b'{"stream_options":{"include_obfuscation":false,"include_usage":true},"stream":true}'
            ),
            b'{"stream\\u005foptions":{"include\\u005fusage":0},"stream":true}': (
                b'{"stream\\u005foptions":{"include\\u005fusage":true},"stream":true}'
            ),
            b'{"stream_options":{"include_usage":true},"stream":true,"stream_options":{}}': (
                b'{"stream_options":{"include_usage":true},"stream":true,"stream_options":{"include_usage":true}}'
            ),
        }
        for body, expected in cases.items():
            self.assertEqual(self.amend(body), expected)

    def test_everything_else_stays(self):
        """Order, spacing, escapes, duplicate keys and large numbers keep their bytes."""
        odd = (
            b'"b":"\\u00e9\\/\\ud83d\\ude00","b":1e5, "seed":123456789012345678901234567890.10,\r\n'
            b'"messages":[ {"content":"\xc3\xa9 \\ud800" , "role":"user"}]'
        )
        self.assertEqual(
            CHAT.amend(b'{"stream":true, ' + odd + b" }\n", {"stream": True}),
            b'{"stream":true, ' + odd + b',"stream_options":{"include_usage":true} }\n',
        )

    @given(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5), max_size=4), st.booleans())
    def test_any_request(self, members, spaced):
        """Whatever else a request holds, it is the same but for the flag, and asking again changes nothing."""
        separators = (" ,\n", " : ") if spaced else (",", ":")
        body = json.dumps({**members, "stream": True}, separators=separators).encode()
        amended = self.amend(body)
        self.assertEqual(amended.replace(b',"stream_options":{"include_usage":true}', b""), body)
        self.assertEqual(json.loads(amended), {**json.loads(body), "stream_options": {"include_usage": True}})
        self.assertIs(self.amend(amended), amended)

    def test_deep(self):
        """Nesting that the parser lets through and the splicing doesn't is the client's error."""
        for depth in (500, 1000, 1022):
            body = b'{"stream":true,"x":' + b"[" * depth + b"]" * depth + b"}"
            try:
                self.assertEqual(self.amend(body), body[:-1] + b',"stream_options":{"include_usage":true}}')
            except BadRequest as error:
                self.assertIn("nested", error.message)


class ErrorFrameTests(SynchronousTestCase):
    """The gateway's own error in the middle of a stream."""

    def test_form(self):
        """An error object of this API, in a frame without an event's name."""
        frame = CHAT.error_frame(UpstreamBroke("it\nbroke"), 7)
        body = {"error": {"message": "it\nbroke", "type": "server_error", "param": None, "code": "upstream_broke_off"}}
        self.assertEqual(json.loads(frame_data(frame)), body)
        self.assertTrue(frame.startswith(b"data: {"))
        self.assertEqual(answer(frame).error, "server_error")
