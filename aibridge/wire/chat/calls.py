"""Tool calls of Chat Completions, put together from the pieces in which they are streamed.

By the documentation the first piece of a call has its index, id and name, and every other piece its index and more of
the arguments: https://platform.openai.com/docs/api-reference/chat-streaming. Many providers differ: all calls at index
0, no indexes, no ids, another id or the same name in each piece, all calls whole in one delta, arguments as an object.
"""

from collections.abc import Iterator

from attrs import Factory, define

from .. import jsontext
from ..formats import ToolCall, parse_arguments
from ..jsontext import JsonObject, int_or_none, nonempty_str, objects

_KINDS = ("function", "custom")


@define(eq=False)
class GrowingCall:
    """A tool call that is put together from its pieces, with all members that its provider gives it."""

    kind: str = "function"
    """The name of the member that holds the tool's name and input: ``function`` or ``custom``."""
    fields: dict[str, object] = Factory(dict)
    """The other members, such as the call's id."""
    fallback_id: str | None = None
    """The id of a call to which its provider gives none."""
    _texts: dict[str, list[str]] = Factory(dict)
    """The pieces of each text in the tool's member."""
    _others: dict[str, object] = Factory(dict)

    def add(self, piece: JsonObject) -> None:
        """Add one piece of the call."""
        for key, value in piece.items():
            if key in _KINDS and isinstance(value, dict):
                self.kind = key
                for name, part in value.items():
                    self._add_part(name, part)
            elif key != "index" and value not in (None, "") and not (key == "id" and "id" in self.fields):
                self.fields[key] = value

    def _add_part(self, name: str, part: object) -> None:
        """Add a part of a member of the tool's: a piece of text, or a value that comes at once."""
        if isinstance(part, str):
            pieces = self._texts.setdefault(name, [])
            if name == "name" and part == "".join(pieces):
                return  # some providers repeat the name in every piece
            if name == "arguments" and part.startswith("{") and self._has_whole_arguments:
                pieces.clear()  # "{}" until the real arguments come, or the whole call once more at its end
            if part:
                pieces.append(part)
        elif name == "arguments" and isinstance(part, (dict, list)):
            self._texts[name] = [jsontext.dump(part).decode()]
        elif part is not None:
            self._others[name] = part

    @property
    def id(self) -> str | None:
        """The call's id."""
        return nonempty_str(self.fields.get("id")) or self.fallback_id

    def text(self, key: str) -> str:
        """Return a text of the tool's member, such as ``name`` or ``arguments``, as far as it has come."""
        return "".join(self._texts.get(key, ()))

    def continues_with(self, piece: JsonObject) -> bool:
        """Return False if a piece at this call's index begins another call."""
        name = _text_of(piece, "name")
        if not name:
            return True  # also with another id: some providers make up a new one for each piece
        given = self.text("arguments") + self.text("input")
        own_id, other_id = self.id, nonempty_str(piece.get("id"))
        if own_id and other_id:
            is_broken_off = bool(given) and self.kind == "function" and not self._has_whole_arguments
            return own_id == other_id or (is_broken_off and name == self.text("name"))
        more = _text_of(piece, "arguments") + _text_of(piece, "input")
        if name == self.text("name"):
            return not (more and self._has_whole_arguments)
        return not given and not more  # a name in pieces

    @property
    def _has_whole_arguments(self) -> bool:
        """True if the arguments so far are a whole JSON object."""
        pieces = self._texts.get("arguments")
        if not pieces or not pieces[-1].rstrip().endswith("}"):  # most pieces, without parsing
            return False
        return jsontext.load_object("".join(pieces).encode("utf-8", "surrogatepass")) is not None

    def to_json(self) -> dict[str, object]:
        """Return the whole call as it is sent back to the provider."""
        texts = {key: "".join(pieces) for key, pieces in self._texts.items()}
        call_id = {"id": self.id} if self.id else {}
        return {"type": self.kind, **self.fields, **call_id, self.kind: {**self._others, **texts}}

    def to_tool_call(self) -> ToolCall:
        """Return the call as it is recorded."""
        name = self.text("name")
        given = self.text("arguments") or self.text("input")
        if self.kind == "custom":
            return ToolCall(self.id, name, given, {"type": "custom"})
        return ToolCall(self.id, name, parse_arguments(given or "{}"))


class GrowingCalls:
    """The calls of one choice, in the order in which they began."""

    def __init__(self) -> None:
        self.calls: list[GrowingCall] = []
        self._by_index: dict[int, GrowingCall] = {}
        """The newest call of each index."""

    def add(self, pieces: object) -> Iterator[tuple[GrowingCall, JsonObject]]:
        """Add the pieces in one delta, or the calls of a whole message. Yield each of them with its call."""
        given = objects(pieces)
        touched: set[GrowingCall] = set()
        for position, piece in enumerate(given):
            call = self._owner(piece, position if len(given) > 1 else None)
            is_repeated = call in touched and bool(_text_of(piece, "name"))
            if call is None or is_repeated or not call.continues_with(piece):
                call = GrowingCall()
                self.calls.append(call)
            index = int_or_none(piece.get("index"))
            if index is not None:
                self._by_index[index] = call
            touched.add(call)
            call.add(piece)
            yield call, piece

    def _owner(self, piece: JsonObject, position: int | None) -> GrowingCall | None:
        """Return the call to which a piece belongs if it does not begin another one; None if there is none yet.

        `position` is the piece's place among several in one delta.
        """
        index, call_id = int_or_none(piece.get("index")), nonempty_str(piece.get("id"))
        if index is not None:
            return self._by_index.get(index)
        same_id = next((call for call in self.calls if call.id == call_id), None) if call_id else None
        if same_id is not None:
            return same_id
        if position is not None and not _text_of(piece, "name"):
            return self.calls[position] if position < len(self.calls) else None
        return self.calls[-1] if self.calls else None


def _text_of(piece: JsonObject, key: str) -> str:
    """Return a text of the tool's member in a piece; of an object its JSON text."""
    for kind in _KINDS:
        member = piece.get(kind)
        if isinstance(member, dict) and (value := member.get(key)):
            return value if isinstance(value, str) else jsontext.dump(value).decode()
    return ""
