"""Answers that are one JSON body, and the choice of a tap."""

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.tap import BareTap, BodyTap, StreamTap, tap_for

from .streams import CHAT_SAMPLE, LIMIT, MESSAGES_SAMPLE, RESPONSES_SAMPLE, SAMPLES, cut, replay

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "c2VjcmV0"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}},
        {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
    ],
    "usage": {"input_tokens": 1, "output_tokens": 2},
}
COMPLETION = {
    "id": "chatcmpl-1",
    "choices": [
        {
            "index": 0,
            "message": {
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}},
                    {"id": "c2", "type": "function", "function": {"name": "now", "arguments": ""}},
                ],
            },
            "finish_reason": "tool_calls",
        },
        {"index": 1, "message": {"function_call": {"name": "old", "arguments": "{"}}, "finish_reason": "function_call"},
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2},
}
RESPONSE = {
    "id": "resp_1",
    "status": "completed",
    "error": None,
    "output": [
        {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Oslo"}'},
        {"id": "fc_2", "type": "function_call", "call_id": "c2", "name": "now", "arguments": "{}"},
    ],
    "usage": {"input_tokens": 1, "output_tokens": 2},
}
BODIES = ((MESSAGES_SAMPLE, MESSAGE), (CHAT_SAMPLE, COMPLETION), (RESPONSES_SAMPLE, RESPONSE))
ERRORS = (
    (
        MESSAGES_SAMPLE,
        {"type": "error", "error": {"type": "overloaded_error", "message": "secret"}},
        "overloaded_error",
    ),
    (CHAT_SAMPLE, {"error": {"message": "secret", "type": None, "code": "rate_limit"}}, "rate_limit"),
    (RESPONSES_SAMPLE, {"error": {"message": "secret"}}, "error"),
    (RESPONSES_SAMPLE, {"error": "secret"}, "error"),
)


def _tap(sample, limit=LIMIT):
    return BodyTap(sample.reader(), limit)


class BodyTapTests(SynchronousTestCase):
    """A JSON body is held whole, read, and let go."""

    def test_reads(self):
        """Ids, all calls of a parallel set, and figures are read, in every API."""
        for sample, body in BODIES:
            tap = _tap(sample)
            replay(tap, [json.dumps(body).encode()])
            self.assertEqual(tap.answer.response_id, body["id"])
            calls = [(call.name, call.input) for call in tap.answer.tool_calls]
            self.assertEqual(calls[:2], [("weather", {"city": "Oslo"}), ("now", {})])
            self.assertEqual(sample.format.count_tokens(tap.answer.usage).output, 2)
            self.assertTrue(tap.answer.finished)

    def test_blanks(self):
        """Blank pieces before the JSON pass at once where they may; the rest is held, read and rewritten as ever."""
        for sample, body in BODIES:
            raw = json.dumps(body).encode()
            for passes in (True, False):
                tap = _tap(sample)
                tap.passes_blanks = passes
                passed = [
                    tap.feed(piece) for piece in (b"\n\n", b" \t", b"\r\n" + raw[:30], raw[30:-1], b"\n", raw[-1:])
                ]
                self.assertEqual(b"".join(passed), b"\n\n \t" if passes else b"")
                tap.close()
                self.assertTrue(tap.answer.finished)
                held = b"\r\n" + raw[:-1] + b"\n" + raw[-1:]
                self.assertEqual(tap.release(), held if passes else b"\n\n \t" + held)

    def test_thoughts(self):
        """Thinking and reasoning summaries are thoughts, redacted thinking is none."""
        for sample, body, source in ((*BODIES[0], "thinking"), (*BODIES[2], "reasoning_summary")):
            tap = _tap(sample)
            replay(tap, [json.dumps(body).encode()])
            self.assertEqual([(thought.content, thought.source) for thought in tap.answer.thoughts], [("Hm.", source)])

    def test_old_function_call(self):
        """Chat's older form of a call is one too; arguments that are no JSON stay text."""
        tap = _tap(CHAT_SAMPLE)
        replay(tap, [json.dumps(COMPLETION).encode()])
        self.assertEqual([(call.name, call.input) for call in tap.answer.tool_calls[2:]], [("old", "{")])

    def test_errors(self):
        """An error is known by its type or code, never by its free text."""
        for sample, body, name in ERRORS:
            tap = _tap(sample)
            replay(tap, [json.dumps(body).encode()])
            self.assertEqual(tap.answer.error, name)

    def test_nothing_passes_before_the_end(self):
        """In whatever pieces it comes, byte for byte it goes, all at once and at the end."""
        for sample, body in BODIES:
            raw = json.dumps(body, indent=1).encode() + b"\n"
            for size in (1, 7, len(raw)):
                tap = _tap(sample)
                self.assertEqual(replay(tap, cut(raw, range(size, len(raw), size))), (b"", raw))
                self.assertTrue(tap.at_end)

    def test_over_the_limit(self):
        """A body too long to be kept passes unread; its last piece still waits."""
        for sample, _ in BODIES:
            tap = _tap(sample, limit=1000)
            raw = b'{"id":"' + b"x" * 5000 + b'"}'
            passed, held = replay(tap, cut(raw, range(100, len(raw), 100)))
            self.assertEqual(passed + held, raw)
            self.assertEqual(held, raw[len(raw) // 100 * 100 :])
            self.assertIsNone(tap.answer.response_id)

    @given(st.binary(max_size=200))
    def test_garbage(self, garbage):
        """Whatever is no JSON passes as it is and says nothing."""
        for sample in SAMPLES:
            tap = _tap(sample)
            self.assertEqual(b"".join(replay(tap, [garbage])), garbage)

    def test_deep(self):
        """Nesting beyond reason passes unread."""
        for sample in SAMPLES:
            deep = b"[" * 100_000 + b"]" * 100_000
            tap = _tap(sample)
            self.assertEqual(replay(tap, [b'{"content":' + deep + b"}"])[1], b'{"content":' + deep + b"}")
            self.assertFalse(tap.answer.finished)

    def test_no_numbers(self):
        """NaN and Infinity, and numbers too large for a float, are read as nothing, and the rest as it is."""
        odd = b'{"logprobs":[NaN,Infinity,-Infinity,1e999],'
        for sample, body in BODIES:
            raw = odd + json.dumps(body).encode()[1:]
            tap, usual = _tap(sample), _tap(sample)
            self.assertEqual(replay(tap, [raw])[1], raw)
            replay(usual, [json.dumps(body).encode()])
            self.assertEqual(tap.answer, usual.answer)

    def test_many_no_numbers(self):
        """A body with NaN is not read if that would take long."""
        tap = _tap(MESSAGES_SAMPLE, limit=100 * LIMIT)
        raw = b'{"odd":NaN,"x":"' + b"x" * 8 * 1024 * 1024 + b'","id":"msg_1"}'
        self.assertEqual(replay(tap, [raw])[1], raw)
        self.assertIsNone(tap.answer.response_id)

    def test_not_an_object(self):
        """JSON that is no object is no answer."""
        for sample in SAMPLES:
            for raw in (b"[]", b"1", b"null", b'"x"', b""):
                tap = _tap(sample)
                replay(tap, [raw])
                self.assertFalse(tap.answer.finished)


class BackgroundTests(SynchronousTestCase):
    """A response that the provider still works on."""

    def test_deferred(self):
        """A deferred response is distinguished from a finished one."""
        for status in ("queued", "in_progress"):
            tap = _tap(RESPONSES_SAMPLE)
            replay(tap, [json.dumps(RESPONSE | {"status": status, "output": []}).encode()])
            self.assertTrue(tap.answer.deferred)
            self.assertFalse(tap.answer.finished)


class BareTapTests(SynchronousTestCase):
    """A tap that reads nothing."""

    def test_passes(self):
        """Everything goes on at once."""
        tap = BareTap()
        self.assertEqual(replay(tap, [b"a", b"b"]), (b"ab", b""))
        self.assertFalse(tap.between_frames)


class ChoiceTests(SynchronousTestCase):
    """Which tap an answer gets, by its content type."""

    def test_by_type(self):
        """Events are a stream; JSON is a body; anything else is what was asked for."""
        reader = MESSAGES_SAMPLE.reader()
        cases = (
            (b"text/event-stream", False, StreamTap),
            (b"Text/Event-Stream; charset=utf-8", True, StreamTap),
            (b"application/json", True, BodyTap),
            (b"application/json ;charset=utf-8", True, BodyTap),
            (b"application/json", False, BodyTap),
            (b"", True, StreamTap),
            (b"text/plain", True, StreamTap),
            (b"", False, BodyTap),
            (b"text/html", False, BodyTap),
        )
        for content_type, stream_asked, kind in cases:
            self.assertIsInstance(tap_for(content_type, stream_asked, reader), kind, content_type)
