"""Providers aren't trusted: whatever they send instead of an answer, the gateway goes on."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.tap import BodyTap, StreamTap

from .dialogues import APIS, LIMIT, Exchange, call, results_of, say, think
from .mutations import odd_bodies, odd_streams

_PLAIN = [think("t1"), say("Well. "), call("o1", "own_tool"), call("o2", "own_tool")]
_MIXED = [think("t1"), call("c1", "bmcp_sky_tides"), say("So. "), call("o1", "own_tool"), call("c2", "bmcp_sky_now")]
_HIDDEN = [say("Hm. "), call("c1", "bmcp_sky_tides"), call("c2", "bmcp_sky_now")]


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
