"""A request's document, of which only the parts that are asked for are parsed."""

import json
from collections.abc import Mapping
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.failover import begins_conversation
from aibridge.wire import jsontext, lazy_document
from aibridge.wire.chat.reader import CHAT
from aibridge.wire.formats import WireFormat
from aibridge.wire.lazy_document import LazyDocument, load_document, newest_first
from aibridge.wire.messages.reader import MESSAGES
from aibridge.wire.prompts import LastTurn
from aibridge.wire.request_body import read_request
from aibridge.wire.responses.reader import RESPONSES
from aibridge.wire.stored_ids import continued_ids, object_ids

NAMES = ("model", "stream", "max_tokens", "metadata", "thread", "messages", "input", "tools", "")
INTEGERS = st.integers(-(2**63), 2**64 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)
ODD_VALUES = ["1", "-0", "1.5e3", "1e999", "01", "1.", "NaN", "null", "true", "{}", "[]", "[1,]", "", "1 2", '"\x01"']
ODD_VALUES += [r'"\ud800"', r'"\ud83d\ude00"', r'"\x"', '[{"a":1,"a":2}]', r'["\ud800",1e999]', '"\x7f\u2028é"']
ODD_VALUES += ["[" * 1_100 + "]" * 1_100, "9" * 5_000]
ODD_NAMES = ["model", r"m\u006fdel", "messages", r"\u006dessages", "input", "stream", "tools", r"\ud800"]
ODD_MEMBERS = st.lists(
    st.tuples(st.sampled_from(ODD_NAMES), st.sampled_from(ODD_VALUES), st.sampled_from(["", " ", "\r\n\t", "\x0b"])),
    max_size=5,
)
OBJECTS = st.dictionaries(st.sampled_from(NAMES) | st.text(), VALUES)


def value_of(text: bytes) -> object:
    """The value of a JSON text; None if it is refused."""
    try:
        return jsontext.load(text)
    except ValueError:
        return None


class EqualTests(SynchronousTestCase):
    """A lazy document is the parsed one."""

    @given(OBJECTS, st.booleans(), st.sampled_from([None, 1]))
    def test_members(self, value: dict[str, object], ascii_only: bool, indent: int | None) -> None:
        """Each member has its value, one that is not there has none, and all members together are the object."""
        document = load_document(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "replace"))
        whole = jsontext.load(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "replace"))
        assert isinstance(document, Mapping) and isinstance(whole, dict)
        for name in (*NAMES, *whole):
            self.assertEqual(document.get(name, "none"), whole.get(name, "none"))
            self.assertEqual(name in document, name in whole)
            if name in whole:
                self.assertEqual(document[name], whole[name])
            else:
                self.assertRaises(KeyError, document.__getitem__, name)
        self.assertEqual((dict(document), len(document)), (whole, len(whole)))

    @given(ODD_MEMBERS, st.sampled_from(["", "\ufeff", " "]), st.sampled_from(["", "\n", "x", "\x00"]))
    def test_odd_texts(self, members: list[tuple[str, str, str]], before: str, behind: str) -> None:
        """Texts with duplicate keys, escapes and odd numbers are read, or refused, as if they were parsed at once."""
        inner = ",".join(f'{space}"{name}"{space}:{value}{space}' for name, value, space in members)
        text = f"{before}{{{inner}}}{behind}".encode()
        try:
            document = load_document(text)
        except ValueError:
            document = None
        whole = value_of(text)
        if not isinstance(document, LazyDocument) or not isinstance(whole, dict):
            self.assertEqual((document, type(document)), (whole, type(whole)))
            return
        for name in (*NAMES, *whole):
            self.assertEqual(document.get(name, "none"), whole.get(name, "none"))
        for name in ("messages", "input"):
            found, expected = newest_first(document, name), newest_first(whole, name)
            self.assertEqual(found and list(found), expected and list(expected))

    @given(st.lists(VALUES, max_size=12), st.sampled_from(["messages", "input"]))
    def test_newest_first(self, elements: list[object], name: str) -> None:
        """The elements of a list come from its end, as they do from a document that was parsed at once."""
        text = json.dumps({name: elements}).encode()
        lazy, whole = load_document(text), jsontext.load(text)
        assert isinstance(lazy, Mapping) and isinstance(whole, dict)
        found, expected = newest_first(lazy, name), newest_first(whole, name)
        assert found is not None and expected is not None
        self.assertEqual(list(found), list(expected))

    def test_no_list(self) -> None:
        """Where there is no list there are no elements."""
        for text in (b"{}", b'{"messages":"x"}', b'{"messages":null}', b'{"messages":[1],"messages":{}}'):
            document = load_document(text)
            assert isinstance(document, Mapping)
            self.assertIsNone(newest_first(document, "messages"))

    def test_last_of_duplicates(self) -> None:
        """Of duplicate keys the last one counts, as everywhere."""
        document = load_document(b'{"model":1,"messages":[1],"model":"m","messages":[2]}')
        assert isinstance(document, LazyDocument)
        elements = newest_first(document, "messages")
        assert elements is not None
        self.assertEqual((document["model"], list(elements)), ("m", [2]))


class RefusedTests(SynchronousTestCase):
    """Exactly what is no JSON is refused, also in the parts that are skipped."""

    @given(st.binary() | st.text().map(str.encode))
    def test_any_bytes(self, data: bytes) -> None:
        """Any bytes, by themselves and in the place of a member's value."""
        for text in (data, b'{"model":"m","tools":[%b]}' % data, b'{"model":"m","messages":["%b"]}' % data):
            try:
                found = load_document(text)
            except ValueError:
                found = None
            self.assertEqual(dict(found) if isinstance(found, LazyDocument) else found, value_of(text))

    def test_encoding(self) -> None:
        """Text that is not in UTF-8 is refused, wherever it stands."""
        for name in NAMES:
            self.assertRaises(ValueError, load_document, b'{"%b":["\xff"]}' % name.encode())

    def test_depth(self) -> None:
        """What is nested too deeply is refused, and does not end the process."""
        self.assertRaises(ValueError, load_document, b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


class UnreadTests(SynchronousTestCase):
    """The parts of a long conversation that nobody asks for are not parsed."""

    def setUp(self) -> None:
        self.parsed: list[bytes] = []

        def load(text: bytes) -> object:
            self.parsed.append(text)
            return jsontext.load(text)

        self.patch(lazy_document, "jsontext", SimpleNamespace(load=load))

    def read(self, wire_format: WireFormat, name: str, turns: list[object], **members: object) -> LastTurn:
        """Read what the gateway reads of each request; its document is a list of turns and a few members."""
        text = json.dumps({"model": "m", "stream": True, "tools": "x" * 5_000, name: turns, **members}).encode()
        body = read_request(text, "", 1_000_000)
        self.assertEqual((body.model, body.streaming, body.max_output_tokens, body.is_whole), ("m", True, 9, True))
        self.assertIs(wire_format.amend(text, body.document), text)
        self.assertEqual((continued_ids(body.document), object_ids(text, body.document)), ([], []))
        wire_format.reader(body.document)
        return wire_format.last_turn(body.document)

    def test_newest_alone(self) -> None:
        """Where the newest message has the prompt and a tool result, it alone is parsed."""
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "7"}
        newest = {"role": "user", "content": [result, {"type": "text", "text": "And now?"}]}
        turns = [*[{"role": "user", "content": "Hello"}] * 50, newest]
        turn = self.read(MESSAGES, "messages", turns, max_tokens=9)
        self.assertEqual((turn.prompt, turn.tool_result_id, len(self.parsed)), ("And now?", "toolu_1", 1))

    def test_few(self) -> None:
        """In the other APIs tool results are messages of their own: a few of the newest are parsed."""
        turns: list[object] = [*[{"role": "user", "content": "Hello"}] * 50]
        called = [{"role": "tool", "tool_call_id": "call_1", "content": "7"}, {"role": "user", "content": "And now?"}]
        usage = {"include_usage": True}
        turn = self.read(CHAT, "messages", [*turns, *called], max_completion_tokens=9, stream_options=usage)
        self.assertEqual((turn.prompt, turn.tool_result_id, len(self.parsed)), ("And now?", "call_1", 2))
        items = [
            {"type": "function_call_output", "call_id": "call_2", "output": "7"},
            {"role": "user", "content": "Go"},
        ]
        turn = self.read(RESPONSES, "input", [*turns, *items], max_output_tokens=9)
        self.assertEqual((turn.prompt, turn.tool_result_id, len(self.parsed)), ("Go", "call_2", 4))

    def test_begun_conversation(self) -> None:
        """Only the newest messages are parsed to see that a conversation has begun."""
        answer, question = {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "And now?"}
        for name in ("messages", "input"):
            self.parsed.clear()
            document = load_document(json.dumps({name: [question, answer] * 50 + [question]}).encode())
            assert isinstance(document, LazyDocument)
            self.assertEqual((begins_conversation(document), len(self.parsed)), (False, 2))

    def test_without_results(self) -> None:
        """A long conversation without any tool is parsed as a whole, once, instead of message by message."""
        turns: list[object] = [{"role": "user", "content": f"Question {number}"} for number in range(100)]
        turn = self.read(MESSAGES, "messages", turns, max_tokens=9)
        self.assertEqual((turn.prompt, turn.tool_result_id), ("Question 99", None))
        self.assertEqual((len(self.parsed), max(self.parsed, key=len)[:14]), (9, b'{"model": "m",'))
