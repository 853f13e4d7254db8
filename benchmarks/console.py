"""Measure the console's questions against a long history: the first screen of each page, and a large session.

Each question runs on the console's own connections, as it does in a gateway. `--plans` prints what the database does
for the slowest.
"""

import statistics
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from aibridge.insight.budgets import budgets
from aibridge.insight.contents import prompts
from aibridge.insight.filters import Filter
from aibridge.insight.interceptions import detailed_interceptions, interception, interceptions
from aibridge.insight.keys import keys
from aibridge.insight.query_pool import open_limited_reader
from aibridge.insight.search import search
from aibridge.insight.sessions import session, sessions
from aibridge.insight.tools import tools
from aibridge.insight.usage import models, overview, people, usage
from aibridge.record import migrations, search_index
from aibridge.record.budgets.settings import BudgetSettings
from aibridge.record.database import open_engine
from aibridge.record.rollups import Rollups
from aibridge.record.schema import interceptions as interceptions_table
from aibridge.record.schema import token_usages, tool_usages, user_prompts
from aibridge.record.values import utc_now
from benchmarks.recording.servers import DATABASES
from benchmarks.report import aligned

DEFAULT_ROWS = {"PostgreSQL": 10_000_000, "SQLite": 1_000_000}
LARGE_SESSION = "large"
"""The session of 500 interceptions."""

SEARCHED = ("export", "9876", "export 9876", "nowhere", "git")
QUERY_TIMEOUT = 5.0
"""The console's own default."""

_RUNS = 5
_STEP = 500_000
_USERS, _TEAMS = 500, 20
_TABLES = (interceptions_table, token_usages, user_prompts, tool_usages)

_SERIES = {
    "postgresql": "SELECT n FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n",
    "sqlite": "WITH RECURSIVE s(n) AS (VALUES (:first) UNION ALL SELECT n + 1 FROM s WHERE n < :last) SELECT n FROM s",
}
_AT = {  # a year's history; it ends now
    "postgresql": "(CAST(:end AS timestamptz) - interval '1 year' * (:rows - n) / :rows)",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', julianday(:end) - 365.0 * (:rows - n) / :rows)",
}
_LATER = {
    "postgresql": "(at + interval '8 s')",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', at, '+8 seconds')",
}
_UUID = {
    "postgresql": "CAST(lpad(to_hex({kind}), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(n), 12, '0') AS uuid)",
    "sqlite": "printf('%08x-0000-7000-8000-%012x', {kind}, n)",
}
_SESSION = "CASE WHEN n > :rows - 500 THEN 0 ELSE n / 1000 * 50 + n % 50 + 1 END"
"""The last 500 interceptions are one session, and others have twenty."""
_INSERTS = (
    "INSERT INTO aibridge_interceptions (id, initiator_id, provider, provider_name, model, client, client_session_id,"
    " user_agent, correlating_tool_call_id, credential_kind, credential_hint, streaming, started_at, ended_at, status,"
    " http_status, upstream_requests, metadata, first_byte_ms) SELECT {id1}, 'user-' || (session % {users}),"
    " 'anthropic', CASE WHEN session % 20001 = 20000 THEN 'rare' ELSE 'anthropic' END,"
    " CASE WHEN session % 20001 = 20000 THEN 'model-rare' ELSE 'model-' || (session % 6) END,"
    " CASE WHEN session % 20001 = 20000 THEN 'client-rare' ELSE 'client-' || (session % 3) END,"
    " CASE WHEN session = 0 THEN 'large' ELSE 's' || session END, 'claude-cli/2.0',"
    " CASE WHEN n % 5 > 0 THEN 'toolu_' || (n - 50) END, 'centralized', 'sk-a...xy', {true}, at, {later},"
    " CASE WHEN n % 200003 = 0 THEN 'interrupted' WHEN n % 53 = 0 THEN 'failed' ELSE 'completed' END, 200, 1,"
    " {json}, 200 + n % 3000 FROM ({source}) AS source",
    "INSERT INTO aibridge_token_usages (id, interception_id, provider_response_id, served_model, input_tokens,"
    " output_tokens, cache_read_input_tokens, cache_write_input_tokens, cost_nanousd, price_version, metadata,"
    " created_at) SELECT {id2}, {id1}, 'msg_' || n, 'model', n % 300, n % 700, n % 90000, n % 2000,"
    " CASE WHEN n % 100003 = 0 THEN 9000000000 ELSE n % 90000 * 1000 END,"
    " 'table', {complete}, {later} FROM ({source}) AS source",
    "INSERT INTO aibridge_user_prompts (id, interception_id, provider_response_id, prompt, metadata, created_at)"
    " SELECT {id3}, {id1}, 'msg_' || n, 'Why does the export stop after ' || n || ' rows? Find out and mend it.',"
    " {none}, at FROM ({source}) AS source WHERE (n / 50 + n) % 5 = 0",
    "INSERT INTO aibridge_tool_usages (id, interception_id, provider_response_id, tool_call_id, server_url, tool,"
    " input, injected, invocation_error, duration_ms, metadata, created_at) SELECT {id4}, {id1}, 'msg_' || n,"
    " 'toolu_' || n, CASE WHEN n % 8 = 0 THEN 'https://mcp-' || (n % 3) || '.example' END,"
    " CASE WHEN n % 100003 = 1 THEN 'tool-rare' ELSE 'tool-' || (n % 40) END, {input}, n % 8 = 0,"
    " CASE WHEN n % 104 = 0 THEN 'timeout' END, CASE WHEN n % 8 = 0 THEN n % 2000 END, {none}, {later}"
    " FROM ({source}) AS source WHERE n % 5 < 4",
)


def main() -> None:
    options = _parser().parse_args()
    for name in [options.only] if options.only else DATABASES:
        rows = options.rows or DEFAULT_ROWS[name]
        with DATABASES[name]() as url:
            migrations.upgrade(url)
            filled = _timed(lambda url=url, rows=rows: fill(url, rows))
            rolled_up = _timed(lambda url=url: roll_up(url))
            print(f"{name}: {rows:,} interceptions, written in {filled:.0f} s, rolled up in {rolled_up:.0f} s")
            again = _timed(lambda url=url: roll_up(url))
            print(f"the next run of the roll-ups takes {again * 1000:.0f} ms", end="\n\n")
            report(url, questions(), options.plans)
            indexed = _timed(lambda url=url: [*search_index.enable(url)])
            print(f"the index for the search is made in {indexed:.0f} s", end="\n\n")
            report(url, searches(), options.plans)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m benchmarks.console", description=__doc__)
    parser.add_argument("--only", choices=DATABASES, help="measure only this database")
    parser.add_argument("--rows", type=int, help="interceptions of the history (10,000,000; SQLite: 1,000,000)")
    parser.add_argument("--plans", action="store_true", help="also print the plans of queries over 100 ms")
    return parser


def report(url: str, questions: Mapping[str, Callable[[Connection], Any]], plans: bool) -> None:
    """Print the times of each question."""
    table = [("question", "shortest", "median", "longest"), *measure(url, questions, plans)]
    print("\n".join(aligned(table)), end="\n\n")


def fill(url: str, rows: int) -> None:
    """Write a year of interceptions that ends now; indexes are made afterwards, which is faster."""
    engine = open_engine(url, foreign_keys=False)
    try:
        with engine.begin() as connection:
            for table in _TABLES:
                for index in table.indexes:
                    index.drop(connection)
        for first in range(1, rows + 1, _STEP):
            _insert(engine, {"rows": rows, "end": utc_now(), "first": first, "last": min(first + _STEP - 1, rows)})
        with engine.begin() as connection:
            for table in _TABLES:
                for index in table.indexes:
                    index.create(connection)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE" if engine.dialect.name == "postgresql" else "ANALYZE"))
    finally:
        engine.dispose()


def _insert(engine: Engine, values: dict[str, Any]) -> None:
    name = engine.dialect.name
    is_postgresql = name == "postgresql"
    cast = "::jsonb" if is_postgresql else ""
    parts = {
        **{f"id{kind}": _UUID[name].format(kind=kind) for kind in range(1, 5)},
        "source": f"SELECT n, {_SESSION} AS session, {_AT[name]} AS at FROM ({_SERIES[name]}) AS numbers",
        "later": _LATER[name],
        "true": "true" if is_postgresql else "1",
        "users": _USERS,
        "json": f"'{{\"team\": \"team-' || (session % {_USERS} % {_TEAMS}) || '\"}}'"
        if not is_postgresql
        else f"jsonb_build_object('team', 'team-' || (session % {_USERS} % {_TEAMS}))",
        "complete": f"'{{\"complete\": true}}'{cast}".replace(": true", "\\: true"),
        "none": f"'{{}}'{cast}",
        "input": f'\'{{"command": "git log"}}\'{cast}'.replace(": ", "\\: "),
    }
    if not is_postgresql:
        parts["json"] = parts["json"].replace(": ", "\\: ")
        values = {**values, "end": values["end"].strftime("%Y-%m-%d %H:%M:%S")}
    with engine.begin() as connection:
        if is_postgresql:
            connection.execute(text("SET LOCAL session_replication_role = replica"))  # skips checks of foreign keys
        for statement in _INSERTS:
            connection.execute(text(statement.format(**parts).replace("::", "\\:\\:")), values)


def roll_up(url: str) -> None:
    """Bring the roll-ups up to date."""
    rollups = Rollups(url)
    try:
        for _ in rollups.run(take_over=True):
            pass
    finally:
        rollups.close()


def filters(now: datetime) -> dict[str, Filter]:
    """Return a filter of each kind, for what is often there, seldom, and never."""
    return {
        "of an actor": Filter(actor="user-7"),
        "of nobody": Filter(actor="nobody"),
        "of a team": Filter(team="team-3"),
        "of a provider": Filter(provider="anthropic"),
        "of a rare provider": Filter(provider="rare"),
        "of a model": Filter(model="model-3"),
        "of a rare model": Filter(model="model-rare"),
        "of no model": Filter(model="no such model"),
        "of a client": Filter(client="client-1"),
        "of a rare client": Filter(client="client-rare"),
        "that failed": Filter(status="failed"),
        "that were interrupted": Filter(status="interrupted"),
        "that were cancelled": Filter(status="cancelled"),  # none
        "of a session": Filter(session=LARGE_SESSION),
        "with a tool": Filter(tool="tool-3"),
        "with a rare tool": Filter(tool="tool-rare"),
        "with no tool": Filter(tool="no such tool"),
        "of a week": Filter(since=now - timedelta(days=7)),
        "of last summer": Filter(since=now - timedelta(days=200), until=now - timedelta(days=100)),
        "for 1 USD": Filter(min_cost=10**9),
        "for 1000 USD": Filter(min_cost=10**12),
        "of an actor that failed": Filter(actor="user-7", status="failed"),
    }


def questions() -> dict[str, Callable[[Connection], Any]]:
    """Return the first screen of each page, and what else an operator asks."""
    now, day, budget = utc_now(), timedelta(days=1), BudgetSettings()
    asked: dict[str, Callable[[Connection], Any]] = {
        "overview": lambda c: overview(c, Filter(), now),
        "sessions": lambda c: sessions(c, Filter(), content=True),
        "a session of 500": lambda c: session(c, LARGE_SESSION, Filter(), content=True),
        "an old session": lambda c: session(c, "s77", Filter(), content=True),
        "no session": lambda c: session(c, "no such session", Filter(), content=True),
        "interceptions": lambda c: interceptions(c, Filter()),
        "an interception": lambda c: interception(c, interceptions(c, Filter(limit=1)).rows[0].id, content=True),
        "prompts": lambda c: prompts(c, Filter(), content=True),
        "people": lambda c: people(c, Filter(), now),
        "models": lambda c: models(c, Filter(), now),
        "tools": lambda c: tools(c, Filter(), now),
        "keys": lambda c: keys(c, Filter(), now),
        "budgets": lambda c: budgets(c, budget, now),
        "usage by day and team": lambda c: usage(c, Filter(), ("day", "team"), now),
        "usage by hour": lambda c: usage(c, Filter(), ("hour",), now),
        "usage by day, model and actor": lambda c: usage(c, Filter(), ("day", "model", "actor"), now),
        "usage of a year by month": lambda c: usage(c, Filter(since=now - 365 * day), ("month",), now),
        "usage of a year by actor": lambda c: usage(c, Filter(since=now - 365 * day), ("actor",), now),
        "export, first hundred": lambda c: detailed_interceptions(c, Filter(limit=100), content=True),
    }
    for name, wanted in filters(now).items():
        lists: dict[str, Callable[..., Any]] = {
            "sessions": sessions,
            "interceptions": interceptions,
            "prompts": prompts,
        }
        sums: dict[str, Callable[..., Any]] = {"overview": overview, "people": people, "models": models, "tools": tools}
        for title, ask in lists.items():
            asked[f"{title} {name}"] = lambda c, ask=ask, wanted=wanted: ask(c, wanted)
        for title, ask in sums.items():
            asked[f"{title} {name}"] = lambda c, ask=ask, wanted=wanted: ask(c, wanted, now)
    return asked


def searches() -> dict[str, Callable[[Connection], Any]]:
    """Return searches: for a word of every prompt, of one prompt, and of none."""
    return {f"search for {words!r}": lambda c, words=words: search(c, Filter(), words) for words in SEARCHED}


def measure(url: str, questions: Mapping[str, Callable[[Connection], Any]], plans: bool) -> Iterator[tuple[str, ...]]:
    """Yield the times of each question."""
    engine = open_limited_reader(url, QUERY_TIMEOUT)
    try:
        for title, question in questions.items():
            try:
                times = [*_times(engine, question)]
            except OperationalError:
                yield title, f"over {QUERY_TIMEOUT:.0f} s", "", ""
                continue
            yield title, *(f"{pick(times) * 1000:.0f} ms" for pick in (min, statistics.median, max))
            if plans and min(times) > 0.1:
                _print_plans(engine, title, question)
    finally:
        engine.dispose()


def _times(engine: Engine, question: Callable[[Connection], Any]) -> Iterator[float]:
    with engine.connect() as connection:
        for _ in range(_RUNS):
            with connection.begin():
                yield _timed(lambda: question(connection))


def _print_plans(engine: Engine, title: str, question: Callable[[Connection], Any]) -> None:
    """Print the plan of each query of a question."""
    from sqlalchemy import event

    asked: list[tuple[str, Any]] = []
    with engine.connect() as connection, connection.begin():
        event.listen(connection, "before_cursor_execute", lambda *given: asked.append((given[2], given[3])))
        question(connection)
        explain = "EXPLAIN (ANALYZE, BUFFERS)" if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
        for sql, values in asked[:]:
            if sql.startswith("SELECT"):
                print(f"--- {title}")
                for row in connection.exec_driver_sql(f"{explain} {sql}", values):
                    print("   ", *row)


def _timed(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
