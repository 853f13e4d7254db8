"""Measure the console's questions against a long history: the first screen of each page, and a large session.

Each question runs on the console's own connections, as it does in a gateway. `--plans` prints what the database does
for the slowest.
"""

import statistics
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, Engine, text

from aibridge.insight.contents import prompts
from aibridge.insight.filters import Filter
from aibridge.insight.interceptions import interception, interceptions
from aibridge.insight.query_pool import open_limited_reader
from aibridge.insight.sessions import session, sessions
from aibridge.insight.tools import tools
from aibridge.insight.usage import models, overview, people, usage
from aibridge.record import migrations
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

_RUNS = 5
_STEP = 500_000
_USERS = 500
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
_INSERTS = (
    "INSERT INTO aibridge_interceptions (id, initiator_id, provider, provider_name, model, client, client_session_id,"
    " user_agent, correlating_tool_call_id, credential_kind, credential_hint, streaming, started_at, ended_at, status,"
    " http_status, upstream_requests, metadata, first_byte_ms) SELECT {id1}, 'user-' || (session % {users}),"
    " 'anthropic', 'anthropic', 'model-' || (session % 6), 'client-' || (session % 3),"
    " CASE WHEN n > :rows - 500 THEN 'large' ELSE 's' || session END, 'claude-cli/2.0',"
    " CASE WHEN n % 5 > 0 THEN 'toolu_' || (n - 50) END, 'centralized', 'sk-a...xy', {true}, at, {later},"
    " CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'completed' END, 200, 1,"
    " {json}, 200 + n % 3000 FROM ({source}) AS source",
    "INSERT INTO aibridge_token_usages (id, interception_id, provider_response_id, served_model, input_tokens,"
    " output_tokens, cache_read_input_tokens, cache_write_input_tokens, cost_nanousd, price_version, metadata,"
    " created_at) SELECT {id2}, {id1}, 'msg_' || n, 'model', n % 300, n % 700, n % 90000, n % 2000, n % 90000 * 1000,"
    " 'table', {complete}, {later} FROM ({source}) AS source",
    "INSERT INTO aibridge_user_prompts (id, interception_id, provider_response_id, prompt, metadata, created_at)"
    " SELECT {id3}, {id1}, 'msg_' || n, 'Why does the export stop after ' || n || ' rows? Find out and mend it.',"
    " {none}, at FROM ({source}) AS source WHERE n % 5 = 0",
    "INSERT INTO aibridge_tool_usages (id, interception_id, provider_response_id, tool_call_id, tool, input, injected,"
    " duration_ms, metadata, created_at) SELECT {id4}, {id1}, 'msg_' || n, 'toolu_' || n, 'tool-' || (n % 40),"
    " {input}, n % 8 = 0, CASE WHEN n % 8 = 0 THEN n % 2000 END, {none}, {later}"
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
            table = [("question", "median", "longest"), *measure(url, options.plans)]
            print("\n".join(aligned(table)), end="\n\n")


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m benchmarks.console", description=__doc__)
    parser.add_argument("--only", choices=DATABASES, help="measure only this database")
    parser.add_argument("--rows", type=int, help="interceptions of the history (10,000,000; SQLite: 1,000,000)")
    parser.add_argument("--plans", action="store_true", help="also print the plans of queries over 100 ms")
    return parser


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
        "source": f"SELECT n, n / 1000 * 50 + n % 50 AS session, {_AT[name]} AS at FROM ({_SERIES[name]}) AS numbers",
        "later": _LATER[name],
        "true": "true" if is_postgresql else "1",
        "users": _USERS,
        "json": "'{\"team\": \"team-' || (session % 12) || '\"}'"
        if not is_postgresql
        else "jsonb_build_object('team', 'team-' || (session % 12))",
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


def questions() -> dict[str, Callable[[Connection], Any]]:
    """Return the first screen of each page, and what else an operator asks."""
    now = utc_now()
    return {
        "overview": lambda c: overview(c, Filter(), now),
        "overview of a team": lambda c: overview(c, Filter(team="team-3"), now),
        "sessions": lambda c: sessions(c, Filter()),
        "sessions of a user": lambda c: sessions(c, Filter(actor="user-7")),
        "sessions with failures": lambda c: sessions(c, Filter(status="failed")),
        "a session of 500": lambda c: session(c, LARGE_SESSION, Filter(), content=True),
        "interceptions": lambda c: interceptions(c, Filter()),
        "failed interceptions": lambda c: interceptions(c, Filter(status="failed")),
        "an interception": lambda c: interception(c, interceptions(c, Filter(limit=1)).rows[0].id, content=True),
        "prompts": lambda c: prompts(c, Filter(), content=True),
        "people": lambda c: people(c, Filter(), now),
        "models": lambda c: models(c, Filter(), now),
        "tools": lambda c: tools(c, Filter(), now),
        "usage by day and team": lambda c: usage(c, Filter(), ("day", "team"), now),
    }


def measure(url: str, plans: bool) -> Iterator[tuple[str, str, str]]:
    """Yield the times of each question."""
    engine = open_limited_reader(url, 60.0)
    try:
        for title, question in questions().items():
            with engine.connect() as connection:
                times = []
                for _ in range(_RUNS):
                    with connection.begin():
                        times.append(_timed(lambda question=question, connection=connection: question(connection)))
            yield title, f"{statistics.median(times) * 1000:.0f} ms", f"{max(times) * 1000:.0f} ms"
            if plans and statistics.median(times) > 0.1:
                _print_plans(engine, title, question)
    finally:
        engine.dispose()


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
