"""Pricing recorded tokens again: those without a cost, or all of them, in small steps.

Each step is a transaction of its own that also corrects the periods of caps on money. A run that was broken off is
taken up by the next one: rows that the present prices have priced already are passed over.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from attrs import frozen
from sqlalchemy import ColumnElement, Connection, RowMapping, and_, bindparam, func, or_, select

from ..costs.calculator import Prices, Pricing
from ..wire.formats import Answer
from ..wire.usage import TokenCounts
from .budgets.sql import ConnectionCursor
from .records import INVOKED_MODEL
from .rollup_changes import mark_changed
from .schema import interceptions, token_usages
from .store import Store

STEP_ROWS = 500
"""Rows in one transaction."""

_TABLE = token_usages.join(interceptions, interceptions.c.id == token_usages.c.interception_id)
_COLUMNS = (
    *(token_usages.c[name] for name in ("id", "created_at", "served_model", "service_tier", "speed", "inference_geo")),
    *(token_usages.c[f"{kind}_tokens"] for kind in ("input", "output", "cache_read_input", "cache_write_input")),
    *(token_usages.c.cost_nanousd, token_usages.c.metadata, token_usages.c.interception_id),
    *(interceptions.c[name] for name in ("provider_name", "model", "started_at")),
)
_NEW_COST = (
    token_usages.update()
    .where(token_usages.c.id == bindparam("row_id"))
    .values(cost_nanousd=bindparam("cost"), price_version=bindparam("version"))
)


@frozen
class Repriced:
    """The result of one step."""

    rows: int
    """Rows that were looked at."""
    priced: int
    """Rows that have another cost now."""
    unknown: int
    """Rows whose cost is still not known, as there is no price."""


def count_priceable(store: Store, prices: Prices, since: datetime, everything: bool) -> int:
    """Return the number of rows that `reprice` would look at."""
    query = select(func.count()).select_from(token_usages).where(_is_due(prices, since, everything))
    with store.transaction() as connection:
        return connection.scalar(query) or 0


def reprice(store: Store, prices: Prices, since: datetime, everything: bool) -> Iterator[Repriced]:
    """Price rows that were made since then, step by step; between two steps no lock is held.

    Rows without a cost, or with `everything` all that were not priced by these prices. What a subscription pays for has
    no cost, and a row that has no price now keeps what it has.
    """
    last: RowMapping | None = None
    while True:
        with store.transaction() as connection:
            rows = connection.execute(_query(prices, since, everything, last)).mappings().all()
            if not rows:
                return
            changed = [row | {"cost": cost} for row in map(dict, rows) if (cost := _cost(prices, row)) is not None]
            if changed:
                _write(connection, store, prices.version, changed)
                mark_changed(connection, min(row["started_at"] for row in changed))
        last = rows[-1]
        differing = sum(row["cost"] != row["cost_nanousd"] for row in changed)
        yield Repriced(len(rows), differing, len(rows) - len(changed))


def _is_due(prices: Prices, since: datetime, everything: bool) -> ColumnElement[bool]:
    has_no_cost = token_usages.c.cost_nanousd.is_(None)
    is_of_others = token_usages.c.price_version.is_distinct_from(prices.version)
    return and_(token_usages.c.created_at >= since, or_(has_no_cost, is_of_others) if everything else has_no_cost)


def _query(prices: Prices, since: datetime, everything: bool, last: RowMapping | None) -> Any:
    """Return the query for the rows behind the last one. They are locked: a gateway may record them anew just now."""
    at, id_ = token_usages.c.created_at, token_usages.c.id
    wanted = _is_due(prices, since, everything)
    if last is not None:
        wanted = and_(wanted, at >= last["created_at"], or_(at > last["created_at"], id_ > last["id"]))
    query = select(*_COLUMNS).select_from(_TABLE).where(wanted).order_by(at, id_).limit(STEP_ROWS)
    return query.with_for_update(of=token_usages)


def _cost(prices: Prices, row: Mapping[str, Any]) -> int | None:
    """Return the cost of a row; None if it is not known, or if a subscription pays for it."""
    metadata = row["metadata"]
    tokens = TokenCounts(
        input=row["input_tokens"],
        output=row["output_tokens"],
        cache_read=row["cache_read_input_tokens"],
        cache_write=row["cache_write_input_tokens"],
        others={name: value for name, value in metadata.items() if type(value) is int},
        words={name: word for name in ("speed", "inference_geo") if (word := row[name])},
    )
    is_subscription = metadata.get("billing") == "subscription"
    pricing = Pricing(prices, row["provider_name"], row["model"], row["started_at"], is_subscription)
    pricing.invoked = metadata.get(INVOKED_MODEL, "")
    answer = Answer(served_model=row["served_model"], service_tier=row["service_tier"])
    return pricing.bill(answer, tokens).costs[0]


def _write(connection: Connection, store: Store, version: str, changed: list[dict[str, Any]]) -> None:
    """Write costs, and add what they differ by to the periods of caps."""
    connection.execute(_NEW_COST, [{"row_id": row["id"], "cost": row["cost"], "version": version} for row in changed])
    differences: dict[Any, int] = {}
    for row in changed:
        difference = row["cost"] - (row["cost_nanousd"] or 0)
        if difference:
            differences[row["interception_id"]] = differences.get(row["interception_id"], 0) + difference
    store.accounts.correct(ConnectionCursor(connection), differences)
