"""What the model says in Chat Completions, put together of its deltas so that it can be sent back."""

from collections.abc import Iterator
from typing import Any

from attrs import Factory, define

from .formats import Json, dicts, index
from .rounds import InjectedCall

_NOT_SENT_BACK = ("role", "tool_calls", "function_call", "annotations", "audio")


@define
class GrowingCall:
    """A tool call as it grows, with all that its provider puts to it."""

    kind: str = "function"
    fields: dict[str, Any] = Factory(dict)
    body: dict[str, Any] = Factory(dict)
    pieces: dict[str, list[str]] = Factory(dict)

    def grow(self, piece: Json) -> "GrowingCall":
        for key, value in piece.items():
            if key in ("function", "custom") and isinstance(value, dict):
                self.kind = key
                self._grow_body(value)
            elif key != "index" and value not in (None, ""):
                self.fields[key] = value
        return self

    def _grow_body(self, body: Json) -> None:
        for key, value in body.items():
            if isinstance(value, str):
                self.pieces.setdefault(key, []).append(value)
            elif value is not None:
                self.body[key] = value

    def text(self, key: str) -> str:
        return "".join(self.pieces.get(key, ()))

    def whole(self) -> dict[str, Any]:
        body = {**self.body, **{key: self.text(key) for key in self.pieces}}
        return {"type": self.kind, **self.fields, self.kind: body}

    def injected(self) -> InjectedCall:
        return InjectedCall(str(self.fields.get("id", "")), self.text("name"), self.text("arguments") or "{}")


@define
class GrowingMessage:
    """The model's message, whatever fields its provider gives it: many put the thoughts into one of their own."""

    pieces: dict[str, list[str]] = Factory(dict)
    others: dict[str, Any] = Factory(dict)
    calls: dict[int, GrowingCall] = Factory(dict)

    def grow(self, delta: Json) -> None:
        """Adds what a delta brings, but for calls."""
        for key, value in delta.items():
            if key in _NOT_SENT_BACK:
                continue
            if isinstance(value, str):
                self.pieces.setdefault(key, []).append(value)
            elif isinstance(value, list):
                before = self.others.get(key)
                self.others[key] = [*before, *value] if isinstance(before, list) else value
            elif value is not None:
                self.others[key] = value

    def grow_calls(self, delta: Json) -> Iterator[tuple[int, GrowingCall]]:
        """Adds the pieces of calls; gives each call that grew, and its number."""
        for position, piece in enumerate(dicts(delta.get("tool_calls"))):
            at = call_number(piece, position)
            yield at, self.calls.setdefault(at, GrowingCall()).grow(piece)

    def words(self) -> dict[str, str]:
        """Its texts, by the field that they stand in."""
        return {key: joined for key, pieces in self.pieces.items() if (joined := "".join(pieces))}

    def whole(self) -> dict[str, Any]:
        """The message as it is sent back."""
        calls = {"tool_calls": [call.whole() for call in self.calls.values()]} if self.calls else {}
        return {"role": "assistant", "content": None, **self.words(), **self.others, **calls}


def call_number(piece: Json, position: int) -> int:
    """The number of the call that a piece belongs to: its place in the list, where a provider gives none."""
    at = index(piece.get("index"))
    return position if at is None else at
