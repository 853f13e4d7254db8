"""A request's JSON object, of which only the parts that are asked for are parsed.

A coding agent sends its whole conversation with each request. Of a body of 100 kB the gateway reads the newest message
and a few small members; to parse all of it, and to free it again, takes three times as long as to skip the rest.
"""

from collections.abc import Iterator, Mapping
from typing import cast

from msgspec import UNSET, MsgspecError, Raw, Struct, UnsetType
from msgspec.json import Decoder

from . import jsontext
from .jsontext import JsonObject


class _Outline(Struct, gc=False):
    """The members that are read of nearly every request; everything else is checked and skipped."""

    model: object = UNSET
    stream: object = UNSET
    max_tokens: object = UNSET
    max_completion_tokens: object = UNSET
    max_output_tokens: object = UNSET
    n: object = UNSET
    metadata: object = UNSET
    stream_options: object = UNSET
    prompt_cache_key: object = UNSET
    previous_response_id: object = UNSET
    conversation: object = UNSET
    thread: object = UNSET
    container: object = UNSET
    messages: list[Raw] | UnsetType = UNSET
    input: list[Raw] | UnsetType = UNSET


_decode_outline = Decoder(_Outline).decode
_LISTS = frozenset(("messages", "input"))
_SMALL = frozenset(_Outline.__struct_fields__) - _LISTS
_ONE_BY_ONE = 8
"""Elements of a list that are parsed each by itself: the prompt and the newest tool result are nearly always there."""


class LazyDocument(Mapping[str, object]):
    """A JSON object. It is parsed as a whole when a member is asked for that is not in its outline."""

    __slots__ = ("_outline", "_text", "_whole")

    def __init__(self, text: bytes, outline: _Outline) -> None:
        self._text = text
        self._outline = outline
        self._whole: dict[str, object] | None = None

    def __getitem__(self, name: str) -> object:
        value = self.get(name, UNSET)
        if value is UNSET:
            raise KeyError(name)
        return value

    def get(self, name: str, default: object = None) -> object:
        """Return a member's value, or the default if there is no such member."""
        if name not in _SMALL:
            return self.whole.get(name, default)
        value: object = getattr(self._outline, name)
        return default if value is UNSET else value

    def __contains__(self, name: object) -> bool:
        return getattr(self._outline, name) is not UNSET if name in _SMALL else name in self.whole

    def __iter__(self) -> Iterator[str]:
        return iter(self.whole)

    def __len__(self) -> int:
        return len(self.whole)

    @property
    def whole(self) -> dict[str, object]:
        """All members."""
        if self._whole is None:
            self._whole = cast(dict[str, object], jsontext.load(self._text))
        return self._whole

    def newest_first(self, name: str) -> Iterator[object] | None:
        """Yield the elements of the list ``messages`` or ``input`` from its end, the newest parsed as they are reached.

        None if the member is no list, or not there.
        """
        elements: list[Raw] | UnsetType = getattr(self._outline, name)
        return None if elements is UNSET else self._newest_first(name, elements)

    def _newest_first(self, name: str, elements: list[Raw]) -> Iterator[object]:
        for element in elements[: -_ONE_BY_ONE - 1 : -1]:
            yield jsontext.load(bytes(element))
        if len(elements) > _ONE_BY_ONE:  # the whole is faster than many parts
            yield from cast(list[object], self.whole[name])[-_ONE_BY_ONE - 1 :: -1]


def load_document(text: bytes) -> object:
    """Return the value of a JSON text as `jsontext.load` does, but an object as a `LazyDocument` where possible.

    Raise ValueError if the text is invalid, in whichever part of it.
    """
    try:
        outline = _decode_outline(text)
    except (MsgspecError, RecursionError):  # invalid, or valid in a way that only slower parsers read
        return jsontext.load(text)
    if not text.isascii():
        text.decode()  # the encoding of what was skipped has not been checked
    return LazyDocument(text, outline)


def newest_first(document: JsonObject, name: str) -> Iterator[object] | None:
    """Yield the elements of the list ``messages`` or ``input`` of a request, from its end; None if it has no list."""
    if isinstance(document, LazyDocument):
        return document.newest_first(name)
    elements = document.get(name)
    return reversed(elements) if isinstance(elements, list) else None
