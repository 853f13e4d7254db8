"""Pages of lists: a cursor holds the sort keys of a page's last row, so that the next page begins behind it.

Rows that come or go meanwhile shift nothing, and no row before the page is counted.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Generic, TypeVar
from uuid import UUID

import orjson
from attrs import evolve, frozen
from sqlalchemy import ColumnElement, and_, or_

T = TypeVar("T")

_LONGEST = 10_000
_LARGEST = 2**63


@frozen(kw_only=True)
class Page(Generic[T]):
    """A page of a list."""

    rows: tuple[T, ...]
    next_cursor: str | None = None
    """The parameter ``cursor`` of the next page; None on the last one."""

    @property
    def has_more(self) -> bool:
        """True if there is a next page."""
        return self.next_cursor is not None


def make_page(rows: Sequence[T], limit: int, keys: Callable[[T], Sequence[object]]) -> Page[T]:
    """Return the page of that many rows; one row more than that has been asked for, and tells of the next page."""
    if len(rows) <= limit:
        return Page(rows=tuple(rows))
    return Page(rows=tuple(rows[:limit]), next_cursor=format_cursor(keys(rows[limit - 1])))


def map_page(page: "Page[T]", rows: Sequence[T]) -> "Page[T]":
    """Return the page with other rows in place of its own."""
    return evolve(page, rows=tuple(rows))


def format_cursor(keys: Sequence[object]) -> str:
    """Return the text of sort keys: texts, whole numbers, times and ids."""

    def plain(key: object) -> object:
        if isinstance(key, datetime):
            return {"at": key.astimezone(UTC).isoformat()}
        return {"id": str(key)} if isinstance(key, UUID) else key

    return urlsafe_b64encode(orjson.dumps([plain(key) for key in keys])).decode().rstrip("=")


def parse_cursor(text: str) -> tuple[object, ...]:
    """Return the sort keys of a cursor. ValueError if it is none."""

    def key(value: object) -> object:
        if isinstance(value, dict):
            [(kind, word)] = value.items()
            if kind != "at":
                return UUID(word)
            moment = datetime.fromisoformat(word)
            if moment.tzinfo != UTC:
                raise ValueError("no moment of a cursor")
            return moment
        is_text = isinstance(value, str) and "\0" not in value
        if not is_text and not (isinstance(value, int) and -_LARGEST <= value < _LARGEST):
            raise ValueError("no key that a database has")
        return value

    try:
        values = orjson.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, UnicodeEncodeError) as error:
        raise ValueError("no cursor") from error
    if not isinstance(values, list) or len(text) > _LONGEST:
        raise ValueError("no cursor")
    try:
        return tuple(key(value) for value in values)
    except (TypeError, AttributeError) as error:
        raise ValueError("no cursor") from error


def is_behind(columns: Sequence[ColumnElement[object]], keys: Sequence[object]) -> ColumnElement[bool]:
    """Return the condition of rows that follow the row with these keys, where all columns fall."""
    (column, *others), (key, *rest) = columns, keys
    if not others:
        return column < key
    # The first part lets the database begin at the key's place in its index.
    return and_(column <= key, or_(column < key, is_behind(others, rest)))
