"""Answers and requests that are almost what they should be: nothing that a provider or a client sends goes wrong."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.sse import make_frame
from aibridge.wire.tap import BodyTap

from .mutations import everywhere, grafted, odd_documents
from .streams import LIMIT, SAMPLES, frames, replay
from .test_body_tap import BODIES

_requests = {
    "messages": {
        "model": "m",
        "metadata": {"user_id": "x"},
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t"}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}, {"type": "text", "text": "b"}]},
        ],
    },
    "chat/completions": {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": False},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "tool", "tool_call_id": "t", "content": "b"},
        ],
    },
    "responses": {
        "model": "m",
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "function_call_output", "call_id": "t", "output": "b"},
            {"role": "user", "content": "c"},
        ],
    },
}


def _events(sample):
    """The events of a stream, parsed."""
    datas = [frame.partition(b"data: ")[2] for frame in frames(sample.stream)]
    return [json.loads(data) for data in datas if data.startswith(b"{")]


_EVENTS = {sample.format.name: _events(sample) for sample in SAMPLES}


_GRAFTED = {
    sample.format.name: grafted([*_EVENTS[sample.format.name], *(body for other, body in BODIES if other is sample)])
    for sample in SAMPLES
}


class ReaderTests(SynchronousTestCase):
    """A tap reads along with whatever comes, and passes it."""

    def _survives(self, sample, stream):
        tap = sample.tap()
        self.assertEqual(b"".join(replay(tap, [stream])), stream)
        self._check_answer(sample, tap.answer)

    def _check_answer(self, sample, answer):
        """Check that all facts have the types that the records need."""
        sample.format.count_tokens(answer.usage)
        texts = [answer.response_id, answer.error, *(call.id for call in answer.tool_calls)]
        self.assertTrue(all(text is None or (isinstance(text, str) and text) for text in texts), texts)
        texts = [*(call.name for call in answer.tool_calls), *(thought.content for thought in answer.thoughts)]
        self.assertTrue(all(isinstance(text, str) for text in texts), texts)

    @settings(max_examples=150)
    @given(st.data())
    def test_grafted_events(self, data):
        """Events with parts of others in any of their places, in any order, pass byte for byte."""
        sample = data.draw(st.sampled_from(SAMPLES))
        events = data.draw(st.lists(_GRAFTED[sample.format.name], min_size=1, max_size=6))
        self._survives(sample, b"".join(make_frame(json.dumps(event).encode()) for event in events))

    @settings(max_examples=150)
    @given(st.data())
    def test_grafted_bodies(self, data):
        """JSON bodies with values where they don't belong."""
        sample = data.draw(st.sampled_from(SAMPLES))
        raw = json.dumps(data.draw(_GRAFTED[sample.format.name])).encode()
        tap = BodyTap(sample.reader(), LIMIT)
        self.assertEqual(b"".join(replay(tap, [raw])), raw)
        self._check_answer(sample, tap.answer)

    @settings(max_examples=100)
    @given(st.data())
    def test_mutated_events(self, data):
        """Any value in any place of an event, amid a stream that goes on as it should."""
        sample = data.draw(st.sampled_from(SAMPLES))
        events = _EVENTS[sample.format.name]
        place = data.draw(st.integers(0, len(events) - 1))
        mutated = data.draw(odd_documents(events[place]))
        stream = [*events[:place], mutated, *events[place + 1 :]]
        self._survives(sample, b"".join(make_frame(json.dumps(event).encode()) for event in stream))

    def test_every_place(self):
        """A value of each kind in each place of each event, one by one, behind the event before it."""
        for sample in SAMPLES:
            events = _EVENTS[sample.format.name]
            for position, event in enumerate(events):
                before = b"".join(
                    make_frame(json.dumps(one).encode()) for one in events[max(0, position - 1) : position]
                )
                for odd in everywhere(event):
                    tap = sample.tap()
                    tap.feed(before + make_frame(json.dumps(odd).encode()))
                    tap.close()
                    self._check_answer(sample, tap.answer)

    def test_every_place_of_a_body(self):
        """JSON bodies with values where they don't belong."""
        for sample, body in BODIES:
            for odd in everywhere(body):
                tap = BodyTap(sample.reader(), LIMIT)
                tap.feed(json.dumps(odd).encode())
                tap.close()
                self._check_answer(sample, tap.answer)

    @settings(max_examples=100)
    @given(st.data())
    def test_mutated_bodies(self, data):
        """Any value in any place of a JSON body."""
        sample, body = data.draw(st.sampled_from(BODIES))
        raw = json.dumps(data.draw(odd_documents(body))).encode()
        tap = BodyTap(sample.reader(), LIMIT)
        self.assertEqual(b"".join(replay(tap, [raw])), raw)
        sample.format.count_tokens(tap.answer.usage)


class RequestTests(SynchronousTestCase):
    """Whatever is read from a request is read from any."""

    @settings(max_examples=100)
    @given(st.data())
    def test_mutated(self, data):
        """Any value in any place: a prompt or none, an id or none, and bytes that still are JSON."""
        sample = data.draw(st.sampled_from(SAMPLES))
        request = data.draw(odd_documents(_requests[sample.format.name]))
        if isinstance(request, dict):
            self._check(sample, request)

    def test_every_place(self):
        """Requests with a value of each kind in each place, one by one."""
        for sample in SAMPLES:
            for request in everywhere(_requests[sample.format.name]):
                self._check(sample, request)

    def _check(self, sample, request):
        turn = sample.format.last_turn(request)
        prompt, correlation = turn.prompt, turn.tool_result_id
        self.assertTrue(prompt is None or (isinstance(prompt, str) and prompt))
        self.assertTrue(correlation is None or (isinstance(correlation, str) and correlation))
        sample.format.reader(request)
        body = json.dumps(request).encode()
        amended = json.loads(sample.format.amend(body, request))
        self.assertEqual(amended | {"stream_options": 0}, json.loads(body) | {"stream_options": 0})
