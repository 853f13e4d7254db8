"""Answers and requests that are almost what they should be: nothing that a provider or a client sends goes wrong."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.sse import make_frame
from aibridge.wire.tap import BodyTap

from .mutations import any_documents
from .streams import LIMIT, SAMPLES, frames, replay
from .test_body_tap import BODIES

_odd = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        2**64,
        1.5,
        1e400,
        "",
        "x",
        "\ud800",
        "\0",
        [],
        {},
        [[]],
        [{}],
        [None],
        {"type": "error"},
        {"": []},
    ]
)
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


def _places(value, path=()):
    """The paths of all values within a value, its own included."""
    found = [path]
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        found += _places(item, (*path, key))
    return found


def _with(value, path, new):
    """The value with another at that path."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = _with(copy[path[0]], path[1:], new)
    return copy


def _without(value, path):
    """The value without that member."""
    copy = value.copy()
    if len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = _without(copy[path[0]], path[1:])
    return copy


@st.composite
def _mutated(draw, value):
    """A value with a few of its parts replaced or left out."""
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(_places(value)))
        value = _without(value, path) if path and draw(st.booleans()) else _with(value, path, draw(_odd))
    return value


def _events(sample):
    """The events of a stream, parsed."""
    datas = [frame.partition(b"data: ")[2] for frame in frames(sample.stream)]
    return [json.loads(data) for data in datas if data.startswith(b"{")]


_EVENTS = {sample.format.name: _events(sample) for sample in SAMPLES}


_ANY_EVENTS = {
    sample.format.name: any_documents([*_EVENTS[sample.format.name], json.loads(json.dumps(BODIES[number][1]))])
    for number, sample in enumerate(SAMPLES)
}


class ReaderTests(SynchronousTestCase):
    """A tap reads along with whatever comes, and passes it."""

    def _survives(self, sample, stream):
        tap = sample.tap()
        self.assertEqual(b"".join(replay(tap, [stream])), stream)
        self._check_answer(sample, tap.answer)

    def _check_answer(self, sample, answer):
        """All that was read has the types that the records need."""
        sample.format.count_tokens(answer.usage)
        texts = [answer.response_id, answer.error, *(call.id for call in answer.tool_calls)]
        self.assertTrue(all(text is None or (isinstance(text, str) and text) for text in texts), texts)
        texts = [*(call.name for call in answer.tool_calls), *(thought.content for thought in answer.thoughts)]
        self.assertTrue(all(isinstance(text, str) for text in texts), texts)

    @settings(max_examples=100)
    @given(st.data())
    def test_any_events(self, data):
        """Events of any shape, in the API's own words and in any order, pass byte for byte."""
        sample = data.draw(st.sampled_from(SAMPLES))
        events = data.draw(st.lists(_ANY_EVENTS[sample.format.name], min_size=1, max_size=6))
        self._survives(sample, b"".join(make_frame(json.dumps(event).encode()) for event in events))

    @settings(max_examples=100)
    @given(st.data())
    def test_any_body(self, data):
        """A JSON body of any shape passes byte for byte."""
        sample = data.draw(st.sampled_from(SAMPLES))
        raw = json.dumps(data.draw(_ANY_EVENTS[sample.format.name])).encode()
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
        mutated = data.draw(_mutated(events[place]))
        stream = [*events[:place], mutated, *events[place + 1 :]]
        self._survives(sample, b"".join(make_frame(json.dumps(event).encode()) for event in stream))

    def test_every_place(self):
        """A list and an object in each place of each event, one by one: neither can be a key."""
        for sample in SAMPLES:
            events = _EVENTS[sample.format.name]
            for position, event in enumerate(events):
                for path in _places(event):
                    for odd in ([], {}, None):
                        tap = sample.tap()
                        for earlier in events[max(0, position - 1) : position]:
                            tap.feed(make_frame(json.dumps(earlier).encode()))
                        tap.feed(make_frame(json.dumps(_with(event, path, odd)).encode()))
                        tap.close()

    @settings(max_examples=100)
    @given(st.data())
    def test_mutated_bodies(self, data):
        """Any value in any place of a JSON body."""
        sample, body = data.draw(st.sampled_from(BODIES))
        raw = json.dumps(data.draw(_mutated(body))).encode()
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
        request = data.draw(_mutated(_requests[sample.format.name]))
        if isinstance(request, dict):
            self._check(sample, request)

    @settings(max_examples=100)
    @given(st.data())
    def test_any_request(self, data):
        """The same of requests of any shape, in the API's own words."""
        sample = data.draw(st.sampled_from(SAMPLES))
        self._check(sample, data.draw(any_documents(_requests[sample.format.name])))

    def _check(self, sample, request):
        turn = sample.format.last_turn(request)
        prompt, correlation = turn.prompt, turn.tool_result_id
        self.assertTrue(prompt is None or (isinstance(prompt, str) and prompt))
        self.assertTrue(correlation is None or (isinstance(correlation, str) and correlation))
        sample.format.reader(request)
        body = json.dumps(request).encode()
        amended = json.loads(sample.format.amend(body, request))
        self.assertEqual(amended | {"stream_options": 0}, json.loads(body) | {"stream_options": 0})
