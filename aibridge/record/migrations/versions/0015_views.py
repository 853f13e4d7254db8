"""Views for reports: their columns stay, whatever becomes of the tables behind them."""

from alembic import op

revision = "0015"
down_revision = "0014"

_TOKENS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens")
_NAMES = "actor, team, provider, model, client"
_SUMS = ", ".join(f"sum({name}) AS {name}" for name in ("requests", "errors", *_TOKENS))
_SESSION = (
    "session, actor, client, team, provider, model, first_at, last_at, interceptions, errors, prompts, tool_calls, "
    + ", ".join(_TOKENS)
)
_INTERCEPTION = (
    "i.id, i.initiator_id AS actor, i.provider, i.provider_name, i.model, i.client, i.client_session_id AS session,"
    " i.credential_kind, i.streaming, i.started_at, i.ended_at, i.status, i.http_status, i.error, i.upstream_requests,"
    " i.first_byte_ms"
)


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    for name, query in (_postgresql() if dialect == "postgresql" else _sqlite()).items():
        op.execute(f"CREATE VIEW aibridge_v_{name} AS {query}")


def _postgresql() -> dict[str, str]:
    day = "date_trunc('day', hour, 'UTC')"
    sums = ", ".join(f"coalesce(sum({name}), 0)::bigint AS {name}" for name in _TOKENS)
    return {
        "usage_daily": f"SELECT {day} AS day, {_NAMES}, {_SUMS}, sum(cost_nanousd) / 1000000000.0 AS cost_usd,"
        f" sum(unpriced_tokens) AS unpriced_tokens FROM aibridge_usage_hourly GROUP BY {day}, {_NAMES}",
        "sessions": f"SELECT {_SESSION}, cost_nanousd / 1000000000.0 AS cost_usd, unpriced_tokens"
        " FROM aibridge_sessions",
        "interceptions": f"SELECT {_INTERCEPTION}, coalesce(i.metadata ->> 'team', '') AS team,"
        " extract(epoch FROM i.ended_at - i.started_at)::float8 * 1000 AS duration_ms,"
        f" {', '.join('t.' + name for name in _TOKENS)}, t.cost_usd FROM aibridge_interceptions i,"
        f" LATERAL (SELECT {sums}, sum(cost_nanousd) / 1000000000.0 AS cost_usd FROM aibridge_token_usages"
        " WHERE interception_id = i.id) t",
    }


def _sqlite() -> dict[str, str]:
    def of_interception(value: str, name: str) -> str:
        return f"(SELECT {value} FROM aibridge_token_usages WHERE interception_id = i.id) AS {name}"

    day = "substr(hour, 1, 10)"
    tokens = ", ".join(of_interception(f"coalesce(sum({name}), 0)", name) for name in _TOKENS)
    cost = of_interception("sum(cost_nanousd) / 1e9", "cost_usd")
    return {
        "usage_daily": f"SELECT {day} AS day, {_NAMES}, {_SUMS}, sum(cost_nanousd) / 1e9 AS cost_usd,"
        f" sum(unpriced_tokens) AS unpriced_tokens FROM aibridge_usage_hourly GROUP BY {day}, {_NAMES}",
        "sessions": f"SELECT {_SESSION}, cost_nanousd / 1e9 AS cost_usd, unpriced_tokens FROM aibridge_sessions",
        "interceptions": f"SELECT {_INTERCEPTION}, coalesce(json_extract(i.metadata, '$.team'), '') AS team,"
        f" (julianday(i.ended_at) - julianday(i.started_at)) * 86400000 AS duration_ms, {tokens}, {cost}"
        " FROM aibridge_interceptions i",
    }


def downgrade() -> None:
    for name in ("usage_daily", "sessions", "interceptions"):
        op.execute(f"DROP VIEW aibridge_v_{name}")
