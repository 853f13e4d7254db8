"""Changes of single members in the text of a JSON object. Every other byte stays.

Order, spacing, escapes, large numbers and duplicate keys must stay, because providers cache and sign by the exact text.
The standard library's C scanner finds the end of each value.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from json.decoder import scanstring  # type: ignore[attr-defined]

from attrs import frozen

# Numbers stay text: Python refuses to read integers of several thousand digits.
_decoder = json.JSONDecoder(parse_int=str, parse_float=str)
_scan_value: Callable[[str, int], tuple[object, int]] = _decoder.scan_once  # type: ignore[attr-defined]
_scan_string: Callable[[str, int, bool], tuple[str, int]] = scanstring
_SPACE = re.compile(r"[ \t\n\r]*")


@frozen
class Member:
    """A member of an object, as positions in the text: from its key's quote to the end of its value."""

    key: str
    start: int
    value_start: int
    end: int


def set_member(body: bytes, key: str, value: bytes) -> bytes:
    """Return the object `body` with the member `key` set to the JSON text `value`, or with a new member at the end.

    Of duplicate keys the last one is set: it is the one that parsers use. Raise ValueError if `body` is no object.
    """
    object_text = body.decode()
    last = last_member(object_text, key)
    if last is not None:
        return _replace(object_text, last.value_start, last.end, value.decode())
    return append_member(body, key, value)


def change_members(body: bytes, changes: Mapping[str, bytes | None]) -> bytes:
    """Return the object `body` with several members set, or removed where the value is None, in one walk.

    A member that is set and is not there yet comes at the end.
    """
    texts = {key: value.decode() if value is not None else None for key, value in changes.items()}
    return change_text(body.decode(), texts).encode()


def change_text(object_text: str, changes: Mapping[str, str | None]) -> str:
    """Return the text of an object with several members changed, as `change_members` does."""
    found = list(members(object_text))
    last = {member.key: member for member in found}
    before = found[0].start if found else _opening(object_text) + 1
    parts, is_empty = [object_text[:before]], True
    for member in found:
        value = changes.get(member.key, "")
        if value is not None:
            if not is_empty:
                parts.append(object_text[before : member.start])  # the comma, and the space around it
            is_set = value and last[member.key] is member
            parts.append(object_text[member.start : member.value_start if is_set else member.end])
            parts.append(value if is_set else "")
            is_empty = False
        before = member.end
    for key, value in changes.items():
        if value is not None and key not in last:
            parts.append(f"{'' if is_empty else ','}{json.dumps(key)}:{value}")
            is_empty = False
    return "".join([*parts, object_text[before:]])


def append_member(body: bytes, key: str, value: bytes) -> bytes:
    """Return the object `body` with one more member at its end."""
    object_text = body.decode()
    found = list(members(object_text))
    at = found[-1].end if found else _opening(object_text) + 1
    comma = "," if found else ""
    return _replace(object_text, at, at, f"{comma}{json.dumps(key)}:{value.decode()}")


def remove_member(body: bytes, key: str) -> bytes:
    """Return the object `body` without any member of this name."""
    return change_members(body, {key: None})


def member_text(body: bytes, key: str) -> bytes | None:
    """Return the JSON text of a member's value, of duplicates the last one; None if there is no such member."""
    object_text = body.decode()
    found = last_member(object_text, key)
    return object_text[found.value_start : found.end].encode() if found else None


def elements(array: bytes) -> list[bytes]:
    """Return the JSON texts of an array's elements. Raise ValueError if the text is no array."""
    array_text = array.decode()
    return [array_text[start:end].encode() for start, end in element_places(array_text)]


def element_places(array_text: str) -> list[tuple[int, int]]:
    """Return start and end of each element in the text of an array. Raise ValueError if the text is no array."""
    at = _skip_space(array_text, 0)
    _expect(array_text, at, "[")
    at = _skip_space(array_text, at + 1)
    found: list[tuple[int, int]] = []
    if array_text[at : at + 1] == "]":
        return found
    while True:
        end = _value_end(array_text, at)
        found.append((at, end))
        at = _skip_space(array_text, end)
        if array_text[at : at + 1] == "]":
            return found
        _expect(array_text, at, ",")
        at = _skip_space(array_text, at + 1)


def join(items: Iterable[bytes]) -> bytes:
    """Return an array of these JSON texts."""
    return b"[" + b",".join(items) + b"]"


def last_member(object_text: str, key: str) -> Member | None:
    """Return the last member of this name, or None."""
    found = None
    for member in members(object_text):
        if member.key == key:
            found = member
    return found


def members(object_text: str) -> Iterator[Member]:
    """Yield the members of a JSON object's text, in order. Raise ValueError if the text is no object."""
    at = _skip_space(object_text, _opening(object_text) + 1)
    if object_text[at : at + 1] == "}":
        return
    while True:
        member = _member(object_text, at)
        yield member
        at = _skip_space(object_text, member.end)
        if object_text[at : at + 1] == "}":
            return
        _expect(object_text, at, ",")
        at = _skip_space(object_text, at + 1)


def _member(object_text: str, at: int) -> Member:
    _expect(object_text, at, '"')
    key, end = _scan_string(object_text, at + 1, False)
    colon = _skip_space(object_text, end)
    _expect(object_text, colon, ":")
    value_start = _skip_space(object_text, colon + 1)
    return Member(key, at, value_start, _value_end(object_text, value_start))


def _value_end(json_text: str, at: int) -> int:
    try:
        return _scan_value(json_text, at)[1]
    except StopIteration:
        raise ValueError(f"no value at {at}") from None
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _opening(object_text: str) -> int:
    at = _skip_space(object_text, 1 if object_text.startswith("\ufeff") else 0)
    _expect(object_text, at, "{")
    return at


def _expect(object_text: str, at: int, character: str) -> None:
    if object_text[at : at + 1] != character:
        raise ValueError(f"expected {character} at {at}")


def _skip_space(object_text: str, at: int) -> int:
    match = _SPACE.match(object_text, at)
    assert match is not None
    return match.end()


def _replace(object_text: str, start: int, end: int, new: str) -> bytes:
    return (object_text[:start] + new + object_text[end:]).encode()
