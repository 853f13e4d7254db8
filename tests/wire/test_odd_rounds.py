"""Providers aren't trusted: whatever they send instead of an answer, the gateway goes on."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.history import HiddenRound, KnownTurns, Turn
from aibridge.wire.sse import make_frame
from aibridge.wire.tap import BodyTap, StreamTap

from .dialogues import APIS, LIMIT, TOOLS, Exchange, call, events, results_of, say, think
from .mutations import any_documents, odd_bodies, odd_streams
from .streams import frames

_PLAIN = [think("t1"), say("Well. "), call("o1", "own_tool"), call("o2", "own_tool")]
_MIXED = [think("t1"), call("c1", "bmcp_sky_tides"), say("So. "), call("o1", "own_tool"), call("c2", "bmcp_sky_now")]
_HIDDEN = [say("Hm. "), call("c1", "bmcp_sky_tides"), call("c2", "bmcp_sky_now")]

_PARTS = [think("t1"), call("c1", "bmcp_sky_tides"), say("So. "), call("o1", "own_tool")]
_ANY_EVENTS = [any_documents([*events(api.stream("r_1", _PARTS)), json.loads(api.body("r_1", _PARTS))]) for api in APIS]
_ANY_REQUESTS = [
    any_documents([{"model": "m", api.history_key: [*api.user("hi"), *api.said(_PARTS), *api.results(_PARTS[1:2])]}])
    for api in APIS
]


class OddAnswerTests(SynchronousTestCase):
    """Frames and bodies that aren't what they should be."""

    @given(st.data())
    def test_streams_pass(self, data):
        """As long as no call of the gateway's is in it, a stream passes byte for byte, however odd."""
        for api in APIS:
            stream = data.draw(odd_streams(api.stream("resp_1", _PLAIN)))
            tap = StreamTap(Exchange(api, True).dialogue().new_reader(), LIMIT)
            passed = tap.feed(stream)
            tap.close()
            self.assertEqual(passed + tap.release(), stream)

    @given(st.data())
    def test_bodies_pass(self, data):
        """The same of a body."""
        for api in APIS:
            body = data.draw(odd_bodies(api.body("resp_1", _PLAIN)))
            tap = BodyTap(Exchange(api, False).dialogue().new_reader(), LIMIT)
            tap.feed(body)
            tap.close()
            self.assertEqual(tap.release(), body)

    @given(st.data())
    def test_streams_with_calls(self, data):
        """Odd rounds with calls of the gateway's raise nothing, neither in a first round nor in a later one."""
        for api in APIS:
            dialogue = Exchange(api, True).dialogue()
            for number, parts in enumerate((_HIDDEN, _MIXED)):
                stream = data.draw(odd_streams(api.stream(f"resp_{number}", parts)))
                tap = StreamTap(dialogue.new_reader(), LIMIT)
                tap.feed(stream)
                tap.close()
                self._go_on(dialogue)

    @given(st.data())
    def test_bodies_with_calls(self, data):
        """The same of bodies."""
        for api in APIS:
            dialogue = Exchange(api, False).dialogue()
            for number, parts in enumerate((_HIDDEN, _MIXED)):
                tap = BodyTap(dialogue.new_reader(), LIMIT)
                tap.feed(data.draw(odd_bodies(api.body(f"resp_{number}", parts))))
                tap.close()
                self._go_on(dialogue)

    @settings(max_examples=30)
    @given(st.data())
    def test_any_events(self, data):
        """Events of any shape raise nothing, amid a round as it should be and before a second one."""
        for api, any_event in zip(APIS, _ANY_EVENTS, strict=True):
            dialogue = Exchange(api, True).dialogue()
            for number in range(2):
                told = frames(api.stream(f"resp_{number}", _HIDDEN))
                for event in data.draw(st.lists(any_event, min_size=1, max_size=4)):
                    frame = make_frame(json.dumps(event).encode())
                    told.insert(data.draw(st.integers(0, len(told))), frame)
                tap = StreamTap(dialogue.new_reader(), LIMIT)
                tap.feed(b"".join(told))
                tap.close()
                self._go_on(dialogue)

    @settings(max_examples=30)
    @given(st.data())
    def test_any_body(self, data):
        """A JSON body of any shape raises nothing, neither in a first round nor in a later one."""
        for api, any_body in zip(APIS, _ANY_EVENTS, strict=True):
            dialogue = Exchange(api, False).dialogue()
            for number in range(2):
                body = data.draw(any_body)
                tap = BodyTap(dialogue.new_reader(), LIMIT)
                tap.feed(json.dumps(json.loads(api.body(f"resp_{number}", _HIDDEN)) | body).encode())
                tap.close()
                self._go_on(dialogue)

    @settings(max_examples=30)
    @given(st.data())
    def test_any_request(self, data):
        """A request of any shape has a dialogue, and a body that is JSON."""
        for api, any_request in zip(APIS, _ANY_REQUESTS, strict=True):
            request = data.draw(any_request)
            api.support.may_offer(request)
            api.support.forbids(request)
            api.support.bound(request)
            known = api.support.anchors(request)
            hidden = HiddenRound(b"[{}]", b"[{}]", ((known[0],) if known else (),))
            turns = [Turn(tuple(known), (hidden,), data.draw(st.booleans()), "c", "p")]
            dialogue = api.support.dialogue(json.dumps(request).encode(), request, TOOLS, KnownTurns(turns))
            self.assertIsInstance(json.loads(dialogue.request()), dict)

    def _go_on(self, dialogue):
        if dialogue.calls:
            dialogue.add_results(results_of(dialogue.calls))
        dialogue.turn()
        dialogue.request()

    def test_nested_deeply(self):
        """An event that is nested too deeply to be taken apart passes as it came."""
        deep = b"[" * 900 + b"]" * 900
        for api, kind in zip(APIS, (b"content_block_start", b"x", b"response.output_item.done"), strict=True):
            stream = (
                b'data: {"type":"%b","index":0,"output_index":0,"choices":[{"delta":{"tool_calls":[{"function":{' % kind
            )
            stream += (
                b'"name":"bmcp_sky_now"}}]}}],"item":{"type":"function_call","name":"bmcp_sky_now","odd":%b}}\n\n'
                % deep
            )
            dialogue = Exchange(api, True).dialogue()
            tap = StreamTap(dialogue.new_reader(), LIMIT)
            tap.feed(stream)
            self._go_on(dialogue)
