"""Interceptions: their list, and everything that is recorded of one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from attrs import fields
from sqlalchemy import Connection, RowMapping, Table, func, select

from ..record.figures import TEAM_KEY, token_sums
from ..record.schema import interceptions as table
from ..record.schema import model_thoughts, token_usages, tool_usages, user_prompts
from .conditions import of_interceptions
from .cursors import Page, make_page
from .filters import Filter
from .rows import InterceptionDetail, InterceptionRow, Prompt, Thought, TokenUsage, ToolCall
from .spans import newest_rows

T = TypeVar("T")

_COLUMNS = [column for column in table.c if column.name != "process_id"]
_COUNTED = {"prompts": user_prompts, "tool_calls": tool_usages, "thoughts": model_thoughts}


def interceptions(connection: Connection, wanted: Filter) -> Page[InterceptionRow]:
    """Return the interceptions, newest first."""
    rows = with_figures(connection, _page(connection, wanted))
    return make_page(rows, wanted.limit, lambda row: (row.started_at, row.id))


def detailed_interceptions(connection: Connection, wanted: Filter, *, content: bool) -> Page[InterceptionDetail]:
    """Return everything that is recorded of interceptions, newest first, without contents unless asked for."""
    rows = details(connection, _page(connection, wanted), content=content)
    return make_page(rows, wanted.limit, lambda row: (row.interception.started_at, row.interception.id))


def interception(connection: Connection, id_: UUID, *, content: bool = False) -> InterceptionDetail | None:
    """Return everything that is recorded of an interception, without contents unless asked for; None if unknown."""
    found = connection.execute(select(*_COLUMNS).where(table.c.id == id_)).mappings().all()
    if not found:
        return None
    [detail] = details(connection, found, content=content)
    return detail


def with_figures(connection: Connection, found: Sequence[RowMapping]) -> list[InterceptionRow]:
    """Return rows of interceptions with the sums of their tokens and the numbers of their rows."""
    ids = [row["id"] for row in found]
    of = token_usages.c.interception_id
    priced = func.count(token_usages.c.cost_nanousd).label("priced")
    sums = {
        row["interception_id"]: row
        for row in connection.execute(select(of, *token_sums, priced).where(of.in_(ids)).group_by(of)).mappings()
    }
    counts = {name: _count(connection, each, ids) for name, each in _COUNTED.items()}
    return [
        _row(row, sums.get(row["id"], {}), {name: count.get(row["id"], 0) for name, count in counts.items()})
        for row in found
    ]


def details(connection: Connection, found: Sequence[RowMapping], *, content: bool) -> list[InterceptionDetail]:
    """Return everything that is recorded of these interceptions, in their order."""
    rows = with_figures(connection, found)
    ids = [row.id for row in rows]
    usages = _children(connection, token_usages, ids, lambda row: TokenUsage(**row))
    hidden = {} if content else {"prompt": None}
    prompts = _children(connection, user_prompts, ids, lambda row: Prompt(**{**row, **hidden}))
    secret = {} if content else {"input": None, "output": None, "invocation_error": None}
    calls = _children(
        connection,
        tool_usages,
        ids,
        lambda row: ToolCall(**{**row, **secret}, failed=row["invocation_error"] is not None),
    )
    unseen = {} if content else {"content": None}
    thoughts = _children(connection, model_thoughts, ids, lambda row: Thought(**{**row, **unseen}))
    parents = _parents(connection, rows)
    children = _brought_results(connection, [call for each in calls.values() for call in each])
    return [
        InterceptionDetail(
            interception=row,
            token_usages=usages.get(row.id, ()),
            user_prompts=prompts.get(row.id, ()),
            tool_usages=calls.get(row.id, ()),
            model_thoughts=thoughts.get(row.id, ()),
            parent_id=parents.get(row.correlating_tool_call_id or ""),
            children=children.get(row.id, ()),
        )
        for row in rows
    ]


def _page(connection: Connection, wanted: Filter) -> Sequence[RowMapping]:
    return newest_rows(connection, select(*_COLUMNS).where(of_interceptions(wanted)), wanted)


def _row(row: RowMapping, sums: Any, counts: Mapping[str, int]) -> InterceptionRow:
    names = {field.name for field in fields(InterceptionRow)}
    values: dict[str, Any] = {name: row[name] for name in row if name in names}
    ended_at = row["ended_at"]
    seconds = (ended_at - row["started_at"]).total_seconds() if ended_at else None
    return InterceptionRow(
        **(values | {**counts} | {name: sums.get(name, 0) for name in names if name.endswith("_tokens")}),
        cost_nanousd=sums["cost_nanousd"] if sums.get("priced") else None,
        team=str(row["metadata"].get(TEAM_KEY, "")),
        duration_ms=None if seconds is None else max(0.0, seconds * 1000),
    )


def _count(connection: Connection, child: Table, ids: Sequence[UUID]) -> Mapping[UUID, int]:
    of = child.c.interception_id
    query = select(of, func.count().label("rows")).where(of.in_(ids)).group_by(of)
    return {row.interception_id: row.rows for row in connection.execute(query)}


def _children(
    connection: Connection, child: Table, ids: Sequence[UUID], make: Callable[[RowMapping], T]
) -> Mapping[UUID, tuple[T, ...]]:
    """Return the rows of a table that belong to each interception."""
    found: dict[UUID, list[T]] = {}
    query = select(child).where(child.c.interception_id.in_(ids)).order_by(child.c.created_at, child.c.id)
    for row in connection.execute(query).mappings():
        found.setdefault(row["interception_id"], []).append(make(row))
    return {id_: tuple(rows) for id_, rows in found.items()}


def _parents(connection: Connection, rows: Iterable[InterceptionRow]) -> Mapping[str, UUID]:
    """Return the interception that made each of the calls whose results these interceptions bring."""
    calls = {row.correlating_tool_call_id for row in rows if row.correlating_tool_call_id}
    of = tool_usages.c
    query = select(of.tool_call_id, of.interception_id).where(of.tool_call_id.in_(calls)).order_by(of.created_at)
    return {row.tool_call_id: row.interception_id for row in connection.execute(query)}


def _brought_results(connection: Connection, calls: Sequence[ToolCall]) -> Mapping[UUID, tuple[UUID, ...]]:
    """Return, for each interception that made calls, those that bring the results."""
    made_by = {call.tool_call_id: call.interception_id for call in calls if call.tool_call_id}
    brought = table.c.correlating_tool_call_id
    query = select(brought, table.c.id).where(brought.in_(made_by)).order_by(table.c.started_at)
    found: dict[UUID, list[UUID]] = {}
    for call, id_ in connection.execute(query):
        found.setdefault(made_by[call], []).append(id_)
    return {id_: tuple(ids) for id_, ids in found.items()}
