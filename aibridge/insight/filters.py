"""The filter of a question, as it stands in a URL's query: which interceptions count, and which page of the rows."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from attrs import frozen

from ..costs.prices import NANODOLLARS
from ..errors import AIBridgeError
from ..record.records import CANCELLED, COMPLETED, FAILED, IN_PROGRESS, INTERRUPTED
from .cursors import parse_cursor

STATUSES = (IN_PROGRESS, COMPLETED, FAILED, CANCELLED, INTERRUPTED, "refused")
DEFAULT_LIMIT = 50
MOST_ROWS = 200
LONGEST_VALUE = 1000
"""Characters of a parameter's value."""

_MOST_MONEY = Decimal(10**9)
_EARLIEST = datetime(1, 3, 1, tzinfo=UTC)
_LATEST = datetime(9999, 11, 1, tzinfo=UTC)
"""The ends of a filter's span: Python can still reckon with a month before the one and after the other."""


class InvalidParameter(AIBridgeError):
    """A parameter of a question that is unknown or can't be used."""

    def __init__(self, field: str, message: str, code: str = "invalid_parameter") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


@frozen(kw_only=True)
class Filter:
    """The interceptions that a question is about, and the page of its answer. None stands for all."""

    actor: str | None = None
    team: str | None = None
    """The value of the actor's metadata that names a team; empty for those without one."""
    provider: str | None = None
    """The provider's configured name."""
    model: str | None = None
    client: str | None = None
    status: str | None = None
    session: str | None = None
    """The client's id of a session."""
    tool: str | None = None
    """A tool that the model called."""
    since: datetime | None = None
    """The parameter ``from``."""
    until: datetime | None = None
    """The parameter ``to``: the end of the span, itself excluded."""
    min_cost: int | None = None
    """Nanodollars that an interception, or a session, costs at least."""
    limit: int = DEFAULT_LIMIT
    cursor: tuple[object, ...] | None = None
    """The sort keys of the last row of the page before."""


FILTERS = ("actor", "team", "provider", "model", "client", "status", "session", "tool", "from", "to", "min_cost")
PAGING = ("limit", "cursor")


def parse_filter(query: Mapping[str, Sequence[str]], allowed: Collection[str] = (*FILTERS, *PAGING)) -> Filter:
    """Return the filter of a URL's query, given as values by name. An empty value is no filter, as in HTML forms.

    InvalidParameter for a parameter that is not allowed, is given twice, or has a wrong value.
    """
    values: dict[str, object] = {}
    for name, texts in query.items():
        if name not in allowed or name not in _PARSERS:
            known = ", ".join(allowed) or "none"
            raise InvalidParameter(name, f"Unknown parameter {name[:50]!r}. Known here: {known}.", "unknown_parameter")
        text = single_value(name, texts)
        if text or name == "team":
            attribute, parse = _PARSERS[name]
            values[attribute] = parse(name, text)
    found = Filter(**values)  # type: ignore[arg-type]
    if found.since is not None and found.until is not None and found.since >= found.until:
        raise InvalidParameter("to", "Parameter 'to' must be later than 'from'.")
    return found


def single_value(name: str, texts: Sequence[str]) -> str:
    """Return the only value of a parameter. InvalidParameter if there are several, or it is too long."""
    if len(texts) != 1:
        raise InvalidParameter(name, f"Parameter {name!r} is given {len(texts)} times; give it once.")
    if len(texts[0]) > LONGEST_VALUE:
        raise InvalidParameter(name, f"Parameter {name!r} is longer than {LONGEST_VALUE} characters.")
    return texts[0]


def _text(name: str, text: str) -> str:
    return text


def _status(name: str, text: str) -> str:
    if text not in STATUSES:
        raise InvalidParameter(name, f"Unknown status {text[:50]!r}. Known: {', '.join(STATUSES)}.")
    return text


def _moment(name: str, text: str) -> datetime:
    try:
        # A "+" that was not encoded arrives as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        return min(max(moment, _EARLIEST), _LATEST)
    except (ValueError, OverflowError) as error:
        message = (
            f"Parameter {name!r} must be a date or a time in ISO 8601, such as 2026-01-31 or 2026-01-31T12:00:00Z."
        )
        raise InvalidParameter(name, message) from error


def parse_money(name: str, text: str) -> int:
    try:
        amount = Decimal(text)
        if not 0 <= amount <= _MOST_MONEY:
            raise InvalidOperation
    except InvalidOperation as error:
        raise InvalidParameter(name, f"Parameter {name!r} must be an amount in USD, such as 0.25.") from error
    return int(amount * NANODOLLARS)


def _limit(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MOST_ROWS):
        raise InvalidParameter(name, f"Parameter {name!r} must be a number from 1 to {MOST_ROWS}.")
    return int(text)


def _cursor(name: str, text: str) -> tuple[object, ...]:
    try:
        return parse_cursor(text)
    except ValueError as error:
        raise bad_cursor() from error


def bad_cursor() -> InvalidParameter:
    """Return the error of a cursor that belongs to no page of this list."""
    return InvalidParameter("cursor", "Parameter 'cursor' must be the next_cursor of this list's page before.")


_PARSERS: Mapping[str, tuple[str, Callable[[str, str], object]]] = {
    **{name: (name, _text) for name in ("actor", "team", "provider", "model", "client", "session", "tool")},
    "status": ("status", _status),
    "from": ("since", _moment),
    "to": ("until", _moment),
    "min_cost": ("min_cost", parse_money),
    "limit": ("limit", _limit),
    "cursor": ("cursor", _cursor),
}
"""For each parameter the filter's attribute, and the function that reads its value."""
