"""The types of columns: ids, moments and JSON, each in the form that suits the database."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CHAR, JSON, DateTime, Dialect, Uuid
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeDecorator, TypeEngine

from .values import text_of_int


class Id(TypeDecorator[UUID]):
    """A UUID: PostgreSQL's own type; elsewhere the dashed text that headers and logs show, so that it can be
    pasted."""

    impl = Uuid
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Uuid() if dialect.supports_native_uuid else CHAR(36))

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        # Faster than `process_bind_param`: an exchange has seven ids.
        if dialect.supports_native_uuid:
            return None
        return lambda value: None if value is None else text_of_int(value.int)

    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:
        return value if value is None or isinstance(value, UUID) else UUID(value)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC with microseconds.

    ``timestamptz`` on PostgreSQL. On SQLite the text ``2026-01-31 23:59:59.123456``: it sorts by time, and
    SQLite's date functions take it for UTC. In Python always an aware datetime; a naive one is refused, because
    its time zone is unknown.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        # Faster than `process_bind_param`; SQLAlchemy's own formatting takes twice as long.
        return _text_of_moment if dialect.name == "sqlite" else _utc_or_none

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a datetime without a time zone")
    return value.astimezone(UTC)


def _utc_or_none(value: datetime | None) -> datetime | None:
    return value if value is None or value.tzinfo is UTC else _utc(value)


def _make_text_of_moment() -> Callable[[datetime | None], str | None]:
    """Return the function that turns moments into SQLite's text. It keeps the last text.

    The rows of one step have the same moment. It is known by its identity: its hash takes as long as its text.
    """
    last: tuple[datetime | None, str | None] = (None, None)

    def text_of_moment(value: datetime | None) -> str | None:
        nonlocal last
        known, text = last  # both at once: several threads may be here
        if value is known:
            return text
        text = None
        if value is not None:
            at = value if value.tzinfo is UTC else _utc(value)
            # This takes half the time of `isoformat` or an f-string.
            date_and_time = (at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond)
            text = "%04d-%02d-%02d %02d:%02d:%02d.%06d" % date_and_time  # noqa: UP031
        last = value, text
        return text

    return text_of_moment


_text_of_moment = _make_text_of_moment()


class Json(TypeDecorator[Any]):
    """A JSON value, ``jsonb`` on PostgreSQL. None is SQL's NULL, so that ``IS NULL`` finds contents that were not kept.

    PostgreSQL's dialect takes 2.4 MB, so it is loaded only where it is used.
    """

    impl = JSON(none_as_null=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name != "postgresql":
            return dialect.type_descriptor(JSON(none_as_null=True))
        from sqlalchemy.dialects.postgresql import JSONB

        return dialect.type_descriptor(JSONB(none_as_null=True))

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> TypeEngine[Any]:
        # The name of a member is no JSON value itself.
        return self.impl_instance.coerce_compared_value(op, value)
