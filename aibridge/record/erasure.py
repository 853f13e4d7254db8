"""Erasure: taking a person's content, and the person's name, out of the database.

The figures go too, or stay under a pseudonym. Interceptions in progress are left out: their gateway would write them
again.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from uuid import UUID

from attrs import frozen
from sqlalchemy import Column, Connection, MetaData, Table, func, inspect, or_, select

from .audit import add_entry, operator_entry
from .console_tables import console_sessions
from .records import IN_PROGRESS
from .rollup_changes import forget_actor
from .schema import (
    PREFIX,
    audit,
    budget_notices,
    budgets,
    interceptions,
    keys,
    model_thoughts,
    token_usages,
    tool_usages,
    turns,
    user_prompts,
    users,
)
from .store import Store
from .values import bounded, storable, utc_now

STEP_ROWS = 10
"""Interceptions in one transaction."""

_PERSONAL = ("client_session_id", "user_agent", "correlating_tool_call_id", "credential_hint", "error")
"""The columns of an interception that may lead to the person, or quote a request."""

_KEPT_METADATA = ("team",)
"""The metadata that stays with figures: reports and budgets are by team."""

_NAME_COLUMNS = ("actor", "initiator_id")
"""The columns in which tables name people."""

_FIGURES = ("aibridge_usage_hourly", "aibridge_tools_hourly", "aibridge_people_daily")
"""Tables of figures alone: their rows may stay under a pseudonym."""

_WITHOUT_CONTENT: Mapping[Table, Mapping[str, object]] = {
    token_usages: {"provider_response_id": None},
    user_prompts: {"provider_response_id": None, "prompt": None, "metadata": {}},
    tool_usages: {
        "provider_response_id": None,
        "tool_call_id": None,
        "input": None,
        "output": None,
        "invocation_error": None,
        "metadata": {},
    },
    model_thoughts: {"content": None, "metadata": {}},
}
"""The values that take the place of contents in the rows of an interception whose figures stay."""


@frozen
class Erased:
    """The result of one step."""

    kind: str
    rows: int
    interceptions: Sequence[UUID] = ()
    """The interceptions whose content is gone."""


def hidden_name(actor: str) -> str:
    """Return the form of a name that can be compared, but not read: for the audit, and for users who stay disabled."""
    return f"sha256:{sha256(bounded(actor).encode()).hexdigest()}"


def count_interceptions(store: Store, actor: str) -> tuple[int, int]:
    """Return the number of an actor's interceptions that have ended, and of those in progress."""
    in_progress = interceptions.c.status == IN_PROGRESS
    query = (
        select(in_progress, func.count()).where(interceptions.c.initiator_id == bounded(actor)).group_by(in_progress)
    )
    with store.transaction() as connection:
        counts = {bool(state): count for state, count in connection.execute(query)}
    return counts.get(False, 0), counts.get(True, 0)


def is_taken(store: Store, pseudonym: str, actor: str) -> bool:
    """Return True if a pseudonym is somebody's name, whose figures would be mixed with the actor's.

    The figures of the actor themself, from an erasure that was not complete, do not count.
    """
    name = bounded(pseudonym)
    theirs = select(interceptions.c.id).where(interceptions.c.initiator_id == name)
    personal = theirs.where(or_(*(interceptions.c[column].is_not(None) for column in _PERSONAL)))
    is_erasure = (audit.c.action == "erase") & (audit.c.subject == hidden_name(actor))
    with store.transaction() as connection:
        for query in (select(keys.c.id).where(keys.c.actor == pseudonym), select(users).where(users.c.actor == name)):
            if connection.execute(query.limit(1)).first() is not None:
                return True
        was_erased = connection.scalar(select(audit.c.id).where(is_erasure).limit(1)) is not None
        return connection.scalar((personal if was_erased else theirs).limit(1)) is not None


def erase(store: Store, actor: str, pseudonym: str | None) -> Iterator[Erased]:
    """Erase an actor, step by step; between two steps no lock is held. The audit is told first.

    With a pseudonym the figures stay under it; without one they are deleted.
    """
    name, due = bounded(actor), count_interceptions(store, actor)[0]
    with _erasing(store) as connection:
        figures = "kept" if pseudonym else "deleted"
        add_entry(connection, operator_entry("erase", hidden_name(actor), interceptions=due, figures=figures))
    while True:
        with _erasing(store) as connection:
            ids = _next_interceptions(connection, name)
            if pseudonym:
                _strip(connection, ids, pseudonym)
            else:
                connection.execute(interceptions.delete().where(interceptions.c.id.in_(ids)))
        if not ids:
            break
        yield Erased("interceptions", len(ids), ids)
    with _erasing(store) as connection:
        rest = [*_erase_rest(connection, actor, pseudonym)]
        _hide_name(connection, actor)
        _forget_words(connection)
    yield from rest
    store.empty_log()


@contextmanager
def _erasing(store: Store) -> Iterator[Connection]:
    """A transaction in which SQLite overwrites what it deletes. PostgreSQL's vacuum makes room of it, in its time."""
    with store.transaction() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
        yield connection


def _next_interceptions(connection: Connection, name: str) -> Sequence[UUID]:
    is_due = (interceptions.c.initiator_id == name) & (interceptions.c.status != IN_PROGRESS)
    return connection.scalars(select(interceptions.c.id).where(is_due).limit(STEP_ROWS)).all()


def _strip(connection: Connection, ids: Sequence[UUID], pseudonym: str) -> None:
    """Leave nothing but figures of these interceptions, under a pseudonym."""
    for table, values in _WITHOUT_CONTENT.items():
        connection.execute(table.update().where(table.c.interception_id.in_(ids)).values(values))
    facts = select(interceptions.c.id, interceptions.c.metadata).where(interceptions.c.id.in_(ids))
    for id_, metadata in connection.execute(facts).all():
        changes = {"initiator_id": bounded(pseudonym), **dict.fromkeys(_PERSONAL)}
        changes["metadata"] = {key: value for key, value in metadata.items() if key in _KEPT_METADATA}
        connection.execute(interceptions.update().where(interceptions.c.id == id_).values(changes))


def _erase_rest(connection: Connection, actor: str, pseudonym: str | None) -> Iterator[Erased]:
    """Erase conversations, keys, caps and the console's sessions, and what any other table has under the name."""
    name = bounded(actor)
    yield Erased("turns of conversations", _delete(connection, turns, turns.c.initiator_id, name))
    yield Erased("keys", _delete(connection, keys, keys.c.actor, actor))
    _remove_caps(connection, actor)
    connection.execute(console_sessions.delete().where(console_sessions.c.name.in_([actor, name])))
    forget_actor(connection, name)
    handled = {table.name for table in (interceptions, turns, keys, users, audit)}
    for table_name in inspect(connection).get_table_names():
        if not table_name.startswith(PREFIX) or table_name in handled:
            continue
        table = Table(table_name, MetaData(), autoload_with=connection)
        for column in [column for column in table.c if column.name in _NAME_COLUMNS]:
            if pseudonym and table_name in _FIGURES:
                connection.execute(table.update().where(column == name).values({column: bounded(pseudonym)}))
            else:
                _delete(connection, table, column, name)


def _remove_caps(connection: Connection, actor: str) -> None:
    """Remove an actor's caps on money. A removed cap keeps its row, by which running gateways learn of it."""
    name, hidden, content = storable(actor), hidden_name(actor), budget_notices.c.content
    of_actor = (content["scope"].as_string() == "actor") & (content["name"].as_string() == name)
    connection.execute(budget_notices.delete().where(of_actor))
    is_due = (budgets.c.scope == "actor") & (budgets.c.name == name)
    for id_, period in connection.execute(select(budgets.c.id, budgets.c.period).where(is_due)).all():
        same = (budgets.c.scope == "actor") & (budgets.c.name == hidden) & (budgets.c.period == period)
        connection.execute(budgets.delete().where(same))  # of an earlier erasure
        revision = connection.scalar(select(func.max(budgets.c.revision))) or 0
        values = {"name": hidden, "removed_at": utc_now(), "revision": revision + 1}
        connection.execute(budgets.update().where(budgets.c.id == id_).values(values))


def _delete(connection: Connection, table: Table, column: "Column[str]", name: str) -> int:
    return connection.execute(table.delete().where(column == name)).rowcount


def _hide_name(connection: Connection, actor: str) -> None:
    """Put the hidden form in the place of a name among disabled users, and where the audit names who was looked at."""
    name, hidden = bounded(actor), hidden_name(actor)
    connection.execute(users.update().where(users.c.actor == name).values(actor=hidden))
    connection.execute(audit.update().where(audit.c.subject == name).values(subject=hidden))
    asked = audit.c.details["actor"].as_string() == name  # the filter of a list that somebody looked at
    for id_, details in connection.execute(select(audit.c.id, audit.c.details).where(asked)).all():
        connection.execute(audit.update().where(audit.c.id == id_).values(details={**details, "actor": hidden}))


def _forget_words(connection: Connection) -> None:
    """Take words of deleted texts out of SQLite's indexes of words, which only mark them as deleted until then."""
    if connection.dialect.name == "sqlite":
        found = "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE %aibridge!_%fts5%' ESCAPE '!'"
        for name in connection.exec_driver_sql(found).scalars().all():
            connection.exec_driver_sql(f"INSERT INTO {name}({name}) VALUES ('optimize')")  # noqa: S608 - a name of our own
