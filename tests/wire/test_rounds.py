"""Answers of several rounds in every API, streamed and whole."""

import json

from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.history import KnownTurns
from aibridge.wire.tap import StreamTap

from .dialogues import APIS, TOOLS, Exchange, call, play, results_of, say, think

TIDES, NOW, OWN = "bmcp_sky_tides", "bmcp_sky_now", "own_tool"


def exchanges(**options):
    return [Exchange(api, streaming, **options) for api in APIS for streaming in (True, False)]


class ConversationTests(SynchronousTestCase):
    """The client sees one answer a turn, the provider sees the conversation as it went."""

    def test_three_rounds(self):
        """Two rounds of the gateway's calls, two of them at once, and the last words make one answer."""
        for exchange in exchanges():
            rounds = [
                [think("t1"), say("Let me see. "), call("c1", TIDES), call("c2", NOW)],
                [think("t2"), call("c3", TIDES, "{}")],
                [think("t3"), say("It is calm.")],
            ]
            whole = exchange.turn(exchange.api.user("tides?"), rounds)
            self.assertNotIn("bmcp_", json.dumps(whole))
            for words in ("t1", "t2", "t3", "Let me see. ", "It is calm."):
                self.assertIn(words, json.dumps(whole))
            self.assertEqual(whole["usage"], exchange.api.total(3))
            self.assertEqual(len(exchange.bodies), 3)

    def test_results_in_order(self):
        """The next request has the calls' results in their order, behind what the model said."""
        for exchange in exchanges():
            exchange.turn(exchange.api.user("?"), [[call("c1", TIDES), call("c2", NOW)], [say("Done.")]])
            sent = exchange.bodies[1].decode()
            self.assertLess(sent.index(f"result of {TIDES} c1"), sent.index(f"result of {NOW} c2"))

    def test_many_turns(self):
        """Hidden calls, the client's own, both together and none: every later request begins as the provider knows."""
        for exchange in exchanges():
            api = exchange.api
            exchange.turn(
                api.user("one"), [[think("t1"), say("I look. "), call("c1", TIDES)], [think("t2"), say("Calm.")]]
            )
            exchange.turn(api.user("two"), [[think("t3"), call("o1", OWN), call("o2", OWN)]])
            exchange.turn(
                api.results([{"id": "o1"}, {"id": "o2"}]), [[call("c2", NOW)], [say("Hm. "), call("o3", OWN)]]
            )
            exchange.turn(
                api.results([{"id": "o3"}]), [[think("t4"), say("Both. "), call("c3", TIDES), call("o4", OWN)]]
            )
            exchange.turn(api.results([{"id": "o4"}]), [[call("o5", OWN), call("c4", TIDES), call("o6", OWN)]])
            exchange.turn(api.results([{"id": "o5"}, {"id": "o6"}]), [[think("t5"), call("c5", NOW)], [say("There.")]])
            exchange.turn(api.user("three"), [[say("Bye.")]])
            self.assertEqual(len(exchange.bodies), 10)

    def test_mixed_calls(self):
        """The client gets its own calls under numbers without a gap, and no more; the gateway's results wait."""
        for exchange in exchanges():
            api = exchange.api
            whole = exchange.turn(
                api.user("?"), [[call("c1", TIDES), call("o1", OWN), call("c2", NOW), call("o2", OWN)]]
            )
            self.assertNotIn("bmcp_", json.dumps(whole))
            self.assertTrue(exchange.turns[-1].pending)
            exchange.turn(api.results([{"id": "o2"}, {"id": "o1"}]), [[say("Done.")]])
            sent = exchange.bodies[1].decode()
            self.assertLess(sent.index("result of bmcp_sky_now c2"), sent.index("from the client"))

    def test_nothing_hidden(self):
        """An answer without a call of the gateway's reaches the client byte for byte."""
        for api in APIS:
            for streaming in (True, False):
                dialogue = Exchange(api, streaming).dialogue()
                parts = [think("t"), say("Well. "), call("o1", OWN)]
                told = play(dialogue, api, "resp_1", parts, streaming)
                self.assertEqual(told, api.stream("resp_1", parts) if streaming else api.body("resp_1", parts))
                self.assertEqual((list(dialogue.calls), dialogue.continues), ([], False))

    def test_same_words(self):
        """Two rounds, and two turns, that say the same aren't taken for each other."""
        for exchange in exchanges():
            for turn in range(3):
                rounds = [[say("Again. "), call(f"c{turn}", TIDES)], [say("Again. "), call(f"d{turn}", NOW)]]
                exchange.turn(exchange.api.user("again"), [*rounds, [say("Again. ")]])

    def test_cut_short(self):
        """A call that the model could not finish is not run, and not shown."""
        finishes = dict(zip(APIS, ("max_tokens", "length", "incomplete"), strict=True))
        for api, finish in finishes.items():
            for streaming in (True, False):
                dialogue = Exchange(api, streaming).dialogue()
                told = play(dialogue, api, "resp_1", [say("Hm"), call("c1", TIDES, "{}")], streaming, finish)
                self.assertNotIn(b"bmcp_", told)
                self.assertIn(finish.encode(), told)
                self.assertEqual(list(dialogue.calls), [])

    def test_tools_offered(self):
        """The gateway's tools stand beside the client's, whose bytes stay."""
        own = {"type": "custom", "name": "own", "odd": 1.0}
        for exchange in exchanges(more={"tools": [own]}):
            sent = exchange.dialogue().request()
            names = [tool.get("name") or tool["function"]["name"] for tool in json.loads(sent)["tools"]]
            offered = [tool.name for tool in TOOLS]
            first = exchange.api is APIS[0]
            self.assertEqual(names, [*offered, "own"] if first else ["own", *offered])
            self.assertIn(json.dumps(own).encode(), sent)

    def test_unknown_past(self):
        """If no turn is remembered, the client's history stays as it is, byte for byte."""
        for exchange in exchanges():
            exchange.turn(exchange.api.user("?"), [[say("A. "), call("c1", TIDES)], [say("B.")]])
            exchange.history += exchange.api.user("more")
            exchange.turns.clear()
            sent = json.loads(exchange.dialogue().request())[exchange.api.history_key]
            self.assertEqual(sent, exchange.history)

    def test_rewritten_history(self):
        """Messages that the client wrote in the model's name stay as they are."""
        for exchange in exchanges():
            api = exchange.api
            exchange.turn(api.user("?"), [[say("A. "), call("c1", TIDES)], [say("B.")]])
            exchange.history = [*api.user("?"), *api.said([{**say("Summary."), "id": "x"}]), *api.user("more")]
            sent = json.loads(exchange.dialogue().request())[api.history_key]
            self.assertEqual(sent, exchange.history)

    def test_found_by_what_is_sent(self):
        """All anchors of the model's parts in a request were remembered."""
        for exchange in exchanges():
            api = exchange.api
            exchange.turn(api.user("?"), [[think("t"), say("A. "), call("c1", TIDES)], [say("B. "), call("o1", OWN)]])
            request = {api.history_key: [*exchange.history, *api.results([{"id": "o1"}])]}
            known = set(exchange.turns[0].anchors)
            self.assertTrue(known)
            self.assertLessEqual(set(api.support.anchors(request)), known)

    def test_remembered(self):
        """A turn keeps the id that the client knows and the one that stands for all of it at the provider."""
        for exchange in exchanges():
            exchange.turn(exchange.api.user("?"), [[call("c1", TIDES)], [say("B.")]])
            turn = exchange.turns[0]
            self.assertEqual(turn.provider_id.rpartition("_")[2], "1")
            self.assertEqual(turn.client_id.rpartition("_")[2], "0" if exchange.streaming else "1")
            self.assertFalse(turn.pending)
            self.assertEqual(KnownTurns([turn]).provider_id(turn.client_id), turn.provider_id)

    def test_told_again(self):
        """The same history gives the same bytes each time, as prompt caches need it."""
        for exchange in exchanges():
            exchange.turn(exchange.api.user("?"), [[call("c1", TIDES)], [say("A. "), call("c2", NOW)], [say("B.")]])
            exchange.history += exchange.api.user("more")
            self.assertEqual(exchange.dialogue().request(), exchange.dialogue().request())
            hidden = exchange.turns[0].rounds
            for round_ in hidden:
                self.assertIn(round_.assistant[1:-1], exchange.bodies[2])
                self.assertIn(round_.assistant[1:-1], exchange.dialogue().request())
                self.assertIn(round_.results[1:-1], exchange.dialogue().request())

    def test_small_models(self):
        """A small model's housekeeping gets no tools, nor does a demand for structure alone."""
        structured = (
            {"output_config": {"format": {"type": "json_schema"}}},
            {"response_format": {"type": "json_object"}},
            {"text": {"format": {"type": "json_schema"}}},
        )
        for api, demand in zip(APIS, structured, strict=True):
            self.assertTrue(api.support.may_offer({"model": "m"}))
            self.assertFalse(api.support.may_offer({"model": "claude-haiku-4-5"}))
            self.assertFalse(api.support.may_offer({"model": "Claude-Haiku-4-5"}))
            self.assertFalse(api.support.may_offer({"model": "m", **demand}))
            self.assertFalse(api.support.may_offer({"model": "m", "tools": [], **demand}))
            self.assertTrue(api.support.may_offer({"model": "m", "tools": [{}], **demand}))

    def test_own_tools_of_another_type(self):
        """Tools of the client's own that are no list reach the provider as they are."""
        for api in APIS:
            self.assertTrue(api.support.may_offer({"model": "m", "tools": None}))
            for wrong in ({"a": 1}, {}, "", 0, False):
                self.assertFalse(api.support.may_offer({"model": "m", "tools": wrong}))

    def test_error_in_a_later_round(self):
        """A provider's error in a later round ends the answer, and reaches the client."""
        failing = (
            b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"no"}}\n\n',
            b'data: {"error":{"type":"overloaded_error","message":"no"}}\n\n',
            b'event: error\ndata: {"type":"error","code":"overloaded_error","message":"no","sequence_number":9}\n\n',
        )
        for api, frame in zip(APIS, failing, strict=True):
            dialogue = Exchange(api, True).dialogue()
            play(dialogue, api, "resp_1", [call("c1", TIDES)], True)
            dialogue.add_results(results_of(dialogue.calls))
            tap = StreamTap(dialogue.new_reader(), 1 << 20)
            self.assertEqual(tap.feed(frame), b"")
            tap.close()
            self.assertTrue(tap.at_end)
            self.assertIn(b"overloaded_error", tap.release())
            self.assertEqual(tap.answer.error, "overloaded_error")
            self.assertFalse(dialogue.continues)
