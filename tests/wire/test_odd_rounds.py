"""Providers aren't trusted: whatever they send instead of an answer, the gateway goes on."""

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import UpstreamFailed
from aibridge.wire.history import HiddenRound, KnownTurns, Turn
from aibridge.wire.sse import frame_data, make_frame
from aibridge.wire.tap import BodyTap, StreamTap

from .dialogues import APIS, LIMIT, TOOLS, Exchange, call, events, results_of, say, think
from .mutations import everywhere, grafted, odd_bodies, odd_streams
from .streams import frames

_PLAIN = [think("t1"), say("Well. "), call("o1", "own_tool"), call("o2", "own_tool")]
_MIXED = [think("t1"), call("c1", "bmcp_sky_tides"), say("So. "), call("o1", "own_tool"), call("c2", "bmcp_sky_now")]
_HIDDEN = [say("Hm. "), call("c1", "bmcp_sky_tides"), call("c2", "bmcp_sky_now")]

_PARTS = [think("t1"), call("c1", "bmcp_sky_tides"), say("So. "), call("o1", "own_tool")]
_GRAFTED = [grafted([*events(api.stream("r_1", _PARTS)), json.loads(api.body("r_1", _PARTS))]) for api in APIS]
_REQUESTS = [
    {"model": "m", api.history_key: [*api.user("hi"), *api.said(_PARTS), *api.results(_PARTS[1:2]), *api.user("so")]}
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
        """Without calls of the gateway's, an odd body passes byte for byte."""
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
        """Odd bodies with calls of the gateway's raise nothing."""
        for api in APIS:
            dialogue = Exchange(api, False).dialogue()
            for number, parts in enumerate((_HIDDEN, _MIXED)):
                tap = BodyTap(dialogue.new_reader(), LIMIT)
                tap.feed(data.draw(odd_bodies(api.body(f"resp_{number}", parts))))
                tap.close()
                self._go_on(dialogue)

    @settings(max_examples=100)
    @given(st.data())
    def test_grafted_events(self, data):
        """Events with parts of others in any of their places raise nothing, amid two rounds as they should be."""
        at = data.draw(st.integers(0, len(APIS) - 1))
        dialogue = Exchange(APIS[at], True).dialogue()
        for number in range(2):
            told = frames(APIS[at].stream(f"resp_{number}", _HIDDEN))
            for event in data.draw(st.lists(_GRAFTED[at], min_size=1, max_size=4)):
                told.insert(data.draw(st.integers(0, len(told))), make_frame(json.dumps(event).encode()))
            self._stream(dialogue, told)

    def test_every_place_of_a_stream(self):
        """A value of each kind in each place of each event of a round, one by one, raises nothing in either round."""
        for api in APIS:
            told = [make_frame(json.dumps(event).encode()) for event in events(api.stream("resp_1", _HIDDEN))]
            for position, frame in enumerate(told):
                for odd in everywhere(json.loads(frame_data(frame))):
                    dialogue = Exchange(api, True).dialogue()
                    odd_frame = make_frame(json.dumps(odd).encode())
                    for _ in range(2):
                        self._stream(dialogue, [*told[:position], odd_frame, *told[position + 1 :]])

    def test_every_place_of_a_body(self):
        """A value of each kind in each place of a body, one by one, raises nothing in either round."""
        for api in APIS:
            for odd in everywhere(json.loads(api.body("resp_1", _HIDDEN))):
                dialogue = Exchange(api, False).dialogue()
                for _ in range(2):
                    tap = BodyTap(dialogue.new_reader(), LIMIT)
                    tap.feed(json.dumps(odd).encode())
                    tap.close()
                    self._go_on(dialogue)

    def test_every_place_of_a_request(self):
        """A request with a value of each kind in each place, one by one, has a dialogue, and a body that is JSON."""
        for api, request in zip(APIS, _REQUESTS, strict=True):
            known = api.support.anchors(request)
            hidden = HiddenRound(b'[{"role":"assistant"}]', b"[{}]", ((known[0],),))
            for pending in (False, True):
                past = KnownTurns([Turn(tuple(known), (hidden,), pending, "c", "p")])
                for odd in everywhere(request):
                    for judge in (api.support.may_offer, api.support.forbids, api.support.bound, api.support.anchors):
                        judge(odd)
                    dialogue = api.support.dialogue(json.dumps(odd).encode(), odd, TOOLS, past)
                    self.assertIsInstance(json.loads(dialogue.request()), dict)

    def _stream(self, dialogue, told):
        """Streams one round, and goes on to the next."""
        tap = StreamTap(dialogue.new_reader(), LIMIT)
        tap.feed(b"".join(told))
        tap.close()
        self._go_on(dialogue)

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

    def test_too_deep_to_send_back(self):
        """A round that only the fastest parser reads can't be sent back: that is the provider's failure, and said so."""
        for depth in (900, 980, 1010):
            odd = b'"odd":' + b"[" * depth + b"]" * depth + b","
            for api, place in zip(
                APIS, (b'"type": "tool_use"', b'"tool_calls"', b'"type": "function_call"'), strict=True
            ):
                for streaming in (True, False):
                    told = (api.stream if streaming else api.body)("resp_1", _HIDDEN)
                    dialogue = Exchange(api, streaming).dialogue()
                    tap = (StreamTap if streaming else BodyTap)(dialogue.new_reader(), LIMIT)
                    tap.feed(told.replace(place, odd + place))
                    tap.close()
                    with contextlib.suppress(UpstreamFailed):
                        self._go_on(dialogue)
                    dialogue.turn()
