"""A year of interceptions in PostgreSQL, and an operator's queries of them."""

import random
import statistics
import time
from collections.abc import Iterator
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, Engine, Row, text

from aibridge.record.schema import interceptions, token_usages

USERS = 500
SAMPLES = 50
_TABLES = (interceptions, token_usages)

_ID = """
CREATE FUNCTION aibridge_bench_id(at timestamptz, salt text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
          || '7' || substr(md5(salt), 1, 3) || '8' || substr(md5(salt), 4, 15))::uuid $$"""
"""Makes a version 7 UUID, like the gateway's, of a time and a salt that is unique at that time."""

_SOURCE = f"""
  (SELECT n, at, aibridge_bench_id(at, 'i' || n) AS id, session,
          'user-' || floor({USERS} * power(('x' || substr(md5('a' || session), 1, 8))::bit(32)::bigint / 2^32, 1.5))
            AS actor
   FROM (SELECT n, CAST(:end AS timestamptz) - interval '1 year' * (:rows - n) / :rows AS at,
                n / 1000 * 50 + n % 50 AS session
         FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n) AS numbers) AS source"""
"""Sessions of 20 interceptions each, 50 at a time. The busiest user has 1.6 % of all interceptions: 13,000 a month, if
there are ten million in a year."""

_FILL = (
    f"""
INSERT INTO aibridge_interceptions (id, initiator_id, provider, provider_name, model, client, client_session_id,
  user_agent, correlating_tool_call_id, credential_kind, credential_hint, streaming, started_at, ended_at, status,
  http_status, upstream_requests, metadata)
SELECT id, actor, 'anthropic', 'anthropic', 'model-' || session % 6, 'Claude Code', md5('s' || session)::uuid::text,
  'claude-cli/2.0.14 (external, cli)', CASE WHEN n % 5 > 0 THEN 'toolu_' || md5('c' || n) END, 'centralized',
  'sk-a...xy', true, at, at + interval '8 s', 'completed', 200, 1, '{{"team": "core"}}'
FROM {_SOURCE}""",
    f"""
INSERT INTO aibridge_token_usages (id, interception_id, provider_response_id, input_tokens, output_tokens,
  cache_read_input_tokens, cache_write_input_tokens, metadata, created_at)
SELECT aibridge_bench_id(at + interval '8 s', 't' || n), id, 'msg_' || md5('r' || n), n % 300, n % 700, n % 90000,
  n % 2000, '{{"complete": true}}', at + interval '8 s'
FROM {_SOURCE}""",
)
_STEP = 1_000_000

_MONTH = """
SELECT i.model, count(*), sum(t.input_tokens), sum(t.cache_read_input_tokens), sum(t.output_tokens)
FROM aibridge_interceptions i JOIN aibridge_token_usages t ON t.interception_id = i.id
WHERE i.initiator_id = :actor AND i.started_at >= CAST(:at AS timestamptz) - interval '30 days' AND i.started_at < :at
GROUP BY i.model"""

QUERIES = {
    "a user's month, tokens by model": _MONTH,
    "the same of the busiest user": _MONTH.replace(":actor", "'user-0'"),
    "a session's interceptions":
        "SELECT * FROM aibridge_interceptions WHERE client_session_id = :session_id ORDER BY started_at",
    "an interception by the provider's response id":
        "SELECT i.* FROM aibridge_token_usages t JOIN aibridge_interceptions i ON i.id = t.interception_id"
        " WHERE t.provider_response_id = :response_id",
    "an interception by the tool call that it answers":
        "SELECT * FROM aibridge_interceptions WHERE correlating_tool_call_id = :tool_call_id",
}  # fmt: skip
"""SQL by title. `_samples` makes the parameters."""

_SAMPLES = """
SELECT i.started_at AS at, i.client_session_id AS session_id, t.provider_response_id AS response_id,
       coalesce(i.correlating_tool_call_id, '') AS tool_call_id
FROM (SELECT * FROM aibridge_interceptions TABLESAMPLE SYSTEM (:percent) REPEATABLE (1) ORDER BY random()
      LIMIT :samples) AS i JOIN aibridge_token_usages t ON t.interception_id = i.id"""


@frozen
class Timing:
    """Seconds that a query took with different parameters."""

    median: float
    longest: float
    rows: int
    """Largest number of rows of a result."""


def fill(engine: Engine, rows: int) -> None:
    """Insert a year of interceptions that ends now. Indexes are made afterwards, which is faster."""
    with engine.begin() as connection:
        connection.execute(text(_ID))
        for table in _TABLES:
            for index in table.indexes:
                index.drop(connection)
        end = connection.execute(text("SELECT now()")).scalar_one()
    for first in range(1, rows + 1, _STEP):
        values = {"rows": rows, "end": end, "first": first, "last": min(first + _STEP - 1, rows)}
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))  # skips the checks of foreign keys
            for statement in _FILL:
                connection.execute(text(statement), values)
    with engine.begin() as connection:
        for table in _TABLES:
            for index in table.indexes:
                index.create(connection)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
        connection.execute(text("CHECKPOINT"))  # before the next measurement, not during it


def run_queries(engine: Engine, rows: int) -> Iterator[tuple[str, Timing]]:
    """Run each query with `SAMPLES` parameters that find something, on one open connection."""
    with engine.connect() as connection:
        samples = list(_samples(connection, rows))
        for title, sql in QUERIES.items():
            results = [_timed(connection, sql, sample) for sample in samples]
            times = [seconds for seconds, _ in results]
            yield title, Timing(statistics.median(times), max(times), max(found for _, found in results))


def _samples(connection: Connection, rows: int) -> Iterator[dict[str, Any]]:
    percent = min(100.0, 100 * 20_000 / rows)
    chance = random.Random(1)
    for row in connection.execute(text(_SAMPLES), {"percent": percent, "samples": SAMPLES}).mappings():
        yield {**row, "actor": f"user-{chance.randrange(USERS)}"}


def _timed(connection: Connection, sql: str, values: dict[str, Any]) -> tuple[float, int]:
    begun = time.perf_counter()
    found: list[Row[Any]] = list(connection.execute(text(sql), values))
    return time.perf_counter() - begun, len(found)
