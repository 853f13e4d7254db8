"""Tool calls of Chat Completions in the forms in which providers stream them."""

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.chat.calls import GrowingCalls
from aibridge.wire.chat.reader import CHAT
from aibridge.wire.chat.rounds import CHAT_TOOLS
from aibridge.wire.history import KnownTurns
from aibridge.wire.sse import make_frame
from aibridge.wire.tap import BodyTap, StreamTap

from ..dialogues import LIMIT, TOOLS, events, results_of
from .dialects import (
    DIALECTS,
    WITHOUT_IDS,
    all_at_index_0,
    as_documented,
    from_index_1,
    with_names_in_pieces,
    with_objects,
)

OSLO = ("c1", "weather", '{"city": "Oslo", "days": [{"n": 1}, {"n": 2}]}')
BERN = ("c2", "weather", '{"city": "Bern}{"}')
NOW = ("c3", "now", "{}")
CALLS = [OSLO, BERN, NOW]
TIDES_1 = ("c4", "bmcp_sky_tides", '{"at": "Oslo}{"}')
TIDES_2 = ("c5", "bmcp_sky_tides", '{"at": "Bern"}')
REQUEST = {"model": "m", "stream": True, "stream_options": {"include_usage": True}, "messages": []}
WITH_WHOLE_NAMES = [dialect for dialect in DIALECTS if dialect is not with_names_in_pieces]
"""The forms in which the first piece tells whose tool is called."""
DONE = b"data: [DONE]\n\n"


def frame(delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return make_frame(json.dumps({"id": "chatcmpl_1", "created": 1, "choices": [choice]}).encode())


def stream(deltas, finish="tool_calls", every_finish=None):
    frames = [frame({"role": "assistant", "content": None})]
    frames += [frame({"tool_calls": delta}, every_finish) for delta in deltas]
    return b"".join([*frames, frame({}, finish), DONE])


def expected(calls):
    return [(call_id, name, json.loads(arguments)) for call_id, name, arguments in calls]


def read(reader, data):
    """Send a stream through a tap. Return the bytes that the client gets, and the calls that are recorded."""
    tap = StreamTap(reader, LIMIT)
    passed = tap.feed(data)
    tap.close()
    return passed + tap.release(), [(call.id, call.name, call.input) for call in tap.answer.tool_calls]


def new_dialogue():
    return CHAT_TOOLS.dialogue(json.dumps(REQUEST).encode(), REQUEST, TOOLS, KnownTurns())


def client_calls(told):
    """The calls that OpenAI's SDK puts together: by index."""
    calls = {}
    for event in events(told):
        for choice in event["choices"]:
            for piece in choice["delta"].get("tool_calls", ()):
                call = calls.setdefault(piece["index"], {"id": piece.get("id"), "name": "", "arguments": ""})
                call["name"] = call["name"] or piece["function"].get("name") or ""
                call["arguments"] += piece["function"]["arguments"]
    return [(call["id"], call["name"], json.loads(call["arguments"])) for _, call in sorted(calls.items())]


class RecordedTests(SynchronousTestCase):
    """Calls without injected tools: recorded as the model made them, and passed byte for byte."""

    def test_dialects(self):
        """Every form is read as the same calls."""
        for dialect in DIALECTS:
            told = stream(dialect(CALLS))
            passed, calls = read(CHAT.reader(REQUEST), told)
            self.assertEqual(calls, expected(CALLS), dialect.__name__)
            self.assertEqual(passed, told, dialect.__name__)

    def test_without_ids(self):
        """Calls are told apart without ids too."""
        for dialect in WITHOUT_IDS:
            calls = read(CHAT.reader(REQUEST), stream(dialect([OSLO, BERN])))[1]
            self.assertEqual([call[1:] for call in calls], [one[1:] for one in expected([OSLO, BERN])], dialect)

    def test_reason_in_every_chunk(self):
        """An empty finish reason is none, and a reason in every chunk does not tear a call."""
        for reason in ("", "stop"):
            for dialect in DIALECTS:
                calls = read(CHAT.reader(REQUEST), stream(dialect(CALLS), every_finish=reason))[1]
                self.assertEqual(calls, expected(CALLS), (dialect.__name__, reason))

    def test_bodies(self):
        """In an unstreamed answer too, indexes may be missing or all the same, and arguments may be an object."""
        for dialect in (all_at_index_0, with_objects):
            made = [piece for delta in dialect(CALLS) for piece in delta]
            body = {"id": "c", "choices": [{"message": {"tool_calls": made}, "finish_reason": "tool_calls"}]}
            tap = BodyTap(CHAT.reader({}), LIMIT)
            tap.feed(json.dumps(body).encode())
            tap.close()
            self.assertEqual([(c.id, c.name, c.input) for c in tap.answer.tool_calls], expected(CALLS))

    @given(st.lists(st.tuples(st.sampled_from("fgh"), st.dictionaries(st.sampled_from("ab"), st.text())), max_size=4))
    def test_any_calls(self, made):
        """Whatever the arguments are, each form gives the same calls; of the forms without ids too."""
        calls = [(f"c{at}", f"tool_{name}", json.dumps(given)) for at, (name, given) in enumerate(made)]
        for dialect in DIALECTS:
            growing = GrowingCalls()
            for delta in dialect(calls):
                for _ in growing.add(delta):
                    pass
            read_calls = [(c.id, c.name, c.input) for c in (one.to_tool_call() for one in growing.calls)]
            self.assertEqual(read_calls, expected(calls), dialect.__name__)


class InjectedTests(SynchronousTestCase):
    """Calls of the gateway's tools are run, and hidden; the client's own stay whole."""

    def test_run(self):
        """Every form is run as the same calls, nothing of them is shown, and they go back to the provider."""
        for dialect in WITH_WHOLE_NAMES:
            dialogue = new_dialogue()
            told, recorded = read(dialogue.new_reader(), stream(dialect([TIDES_1, TIDES_2])))
            run = [(call.id, call.tool.name, json.loads(call.arguments)) for call in dialogue.calls]
            self.assertEqual(run, expected([TIDES_1, TIDES_2]), dialect.__name__)
            self.assertEqual(recorded, run)
            self.assertTrue(dialogue.continues)
            self.assertNotIn(b"tool_calls", told)
            dialogue.add_results(results_of(dialogue.calls))
            message, *results = json.loads(dialogue.request())["messages"]
            sent = [
                (c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message["tool_calls"]
            ]
            self.assertEqual(sent, run)
            self.assertEqual([result["tool_call_id"] for result in results], ["c4", "c5"])

    def test_without_ids(self):
        """A call without an id gets one, with which its result finds it; the same request leads to the same ids."""
        for dialect in WITHOUT_IDS:
            ids = []
            for _ in range(2):
                dialogue = new_dialogue()
                recorded = read(dialogue.new_reader(), stream(dialect([TIDES_1, TIDES_2])))[1]
                self.assertEqual([json.loads(call.arguments)["at"] for call in dialogue.calls], ["Oslo}{", "Bern"])
                ids.append([call.id for call in dialogue.calls])
                self.assertEqual([call[0] for call in recorded], ids[0])
                dialogue.add_results(results_of(dialogue.calls))
                message, *results = json.loads(dialogue.request())["messages"]
                self.assertEqual([call["id"] for call in message["tool_calls"]], ids[0])
                self.assertEqual([result["tool_call_id"] for result in results], ids[0])
            self.assertEqual(ids[0], ids[1])
            self.assertEqual(len(set(ids[0])), 2)

    def test_reason_in_every_chunk(self):
        """Calls are run whole, whatever finish reasons come before they are."""
        for reason in ("", "stop"):
            for dialect in WITH_WHOLE_NAMES:
                dialogue = new_dialogue()
                told, _ = read(dialogue.new_reader(), stream(dialect([TIDES_1, TIDES_2]), every_finish=reason))
                run = [(call.id, call.tool.name, json.loads(call.arguments)) for call in dialogue.calls]
                self.assertEqual(run, expected([TIDES_1, TIDES_2]), (dialect.__name__, reason))
                self.assertTrue(dialogue.continues)
                self.assertNotIn(b"tool_calls", told)

    def test_beside_the_clients(self):
        """The client's calls are whole at the client, under indexes of their own, whichever calls are hidden."""
        for dialect in (as_documented, from_index_1, all_at_index_0):
            for made in ([TIDES_1, OSLO, BERN], [TIDES_1, OSLO, TIDES_2, BERN], [OSLO, TIDES_1, BERN]):
                dialogue = new_dialogue()
                told, recorded = read(dialogue.new_reader(), stream(dialect(made)))
                self.assertEqual(client_calls(told), expected([OSLO, BERN]), dialect.__name__)
                self.assertEqual(recorded, expected(made))
                self.assertFalse(dialogue.continues)

    def test_no_reason(self):
        """Calls of an answer that ends without a finish reason are run."""
        dialogue = new_dialogue()
        told = b"".join(frame({"tool_calls": delta}) for delta in as_documented([TIDES_1])) + DONE
        read(dialogue.new_reader(), told)
        self.assertEqual((len(dialogue.calls), dialogue.continues), (1, True))
