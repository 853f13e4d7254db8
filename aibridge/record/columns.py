"""Column types that mean the same on SQLite and PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import CHAR, JSON, DateTime, Dialect, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine

from .ids import text_of_int


class Id(TypeDecorator[UUID]):
    """A UUID: PostgreSQL's own type; elsewhere the dashed text that headers and logs show, so that it can be
    pasted."""

    impl = Uuid
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Uuid() if dialect.supports_native_uuid else CHAR(36))

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        # Without the detour of `process_bind_param`: there are seven of them in an exchange.
        return None if dialect.supports_native_uuid else _text_of_id

    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:
        return value if value is None or isinstance(value, UUID) else UUID(value)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC with microseconds.

    ``timestamptz`` on PostgreSQL. On SQLite the text ``2026-01-31 23:59:59.123456``: it sorts by time, and
    SQLite's date functions take it for UTC. In Python always an aware datetime; a naive one is refused, for
    nobody knows what it means.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        # Without the detour of `process_bind_param`, and SQLAlchemy's own formatting takes twice as long.
        return _text_of_moment if dialect.name == "sqlite" else _utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _text_of_id(value: UUID | None) -> str | None:
    return None if value is None else text_of_int(value.int)


def _utc(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError("a datetime without a time zone")
    return value if value.tzinfo is UTC else value.astimezone(UTC)


# The rows of one step have the same time.
@lru_cache(maxsize=64)
def _text_of_moment(value: datetime | None) -> str | None:
    at = _utc(value)
    if at is None:
        return None
    # In half the time of its `isoformat`, or of an f-string.
    date_and_time = (at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond)
    return "%04d-%02d-%02d %02d:%02d:%02d.%06d" % date_and_time  # noqa: UP031


Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""A JSON value; None is SQL's NULL, so that ``IS NULL`` finds what was not kept."""
