"""The boards Overview, People and Reliability: costs from the SQL views, rates and latencies from Prometheus."""

from .panels import METRICS, SQL, Json, Panel, board

_DAILY = "FROM aibridge_v_usage_daily WHERE $__timeFilter(day)"
_ERRORS = 'sum(rate(interceptions_total{status=~"failed|interrupted"}[$__rate_interval]))'


def _by_day(column: str, value: str = "sum(cost_usd)") -> str:
    return f"SELECT day AS time, {column} AS metric, {value} AS value {_DAILY} GROUP BY day, {column} ORDER BY day"


def _quantile(part: float, metric: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({part}, sum by ({labels}) (rate({metric}_bucket[$__rate_interval])))"


def _sql(title: str, kind: str, query: str, unit: str = "currencyUSD", **options: object) -> Panel:
    return Panel(title=title, kind=kind, source=SQL, queries=(("", query),), unit=unit, **options)  # type: ignore[arg-type]


def _metrics(title: str, *queries: tuple[str, str], unit: str = "short", **options: object) -> Panel:
    return Panel(title=title, kind="timeseries", source=METRICS, queries=queries, unit=unit, **options)  # type: ignore[arg-type]


def _stat(title: str, value: str, unit: str) -> Panel:
    return _sql(title, "stat", f"SELECT {value} AS value {_DAILY}", unit, width=6, height=4)


_TOKENS = ", ".join(
    f"sum({kind}) AS {kind.removesuffix('_tokens')}"
    for kind in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens")
)

_OVERVIEW = (
    _stat("Cost", "coalesce(sum(cost_usd), 0)", "currencyUSD"),
    _stat("Requests", "coalesce(sum(requests), 0)", "short"),
    _stat("Errors", "coalesce(sum(errors)::float8 / nullif(sum(requests), 0), 0)", "percentunit"),
    _stat(
        "Tokens from the cache",
        "coalesce(sum(cache_read_input_tokens)::float8"
        " / nullif(sum(cache_read_input_tokens + cache_write_input_tokens + input_tokens), 0), 0)",
        "percentunit",
    ),
    _sql("Cost by model", "timeseries", _by_day("model"), stacked=True),
    _sql("Cost by client", "timeseries", _by_day("client"), stacked=True),
    _sql("Cost by team", "timeseries", _by_day("team"), stacked=True),
    _sql(
        "Tokens by kind",
        "timeseries",
        f"SELECT day AS time, {_TOKENS} {_DAILY} GROUP BY day ORDER BY day",
        "short",
        stacked=True,
    ),
    _sql(
        "Models without a price",
        "table",
        f"SELECT provider, model, sum(unpriced_tokens) AS tokens {_DAILY} GROUP BY provider, model"
        " HAVING sum(unpriced_tokens) > 0 ORDER BY tokens DESC LIMIT 50",
        "short",
    ),
    _metrics("Requests in flight", ("{{provider}}", "sum by (provider) (interceptions_inflight)")),
)

_PEOPLE = (
    _sql(
        "Leaderboard",
        "table",
        "SELECT actor, max(team) AS team, sum(cost_usd) AS cost_usd, sum(requests) AS requests,"
        f" sum(output_tokens) AS output_tokens {_DAILY} GROUP BY actor ORDER BY cost_usd DESC LIMIT 50",
        width=24,
        height=12,
    ),
    _sql(
        "Today against the usual day (P95 of 30 days)",
        "table",
        "WITH days AS (SELECT actor, day, sum(cost_usd) AS cost FROM aibridge_v_usage_daily"
        " WHERE day >= now() - interval '31 days' GROUP BY actor, day)"
        " SELECT actor, coalesce(sum(cost) FILTER (WHERE day >= date_trunc('day', now(), 'UTC')), 0) AS today_usd,"
        " percentile_disc(0.95) WITHIN GROUP (ORDER BY cost)"
        " FILTER (WHERE day < date_trunc('day', now(), 'UTC')) AS usual_usd"
        " FROM days GROUP BY actor ORDER BY today_usd DESC LIMIT 50",
    ),
    _sql(
        "Sessions that cost the most",
        "table",
        "SELECT last_at, actor, client, model, interceptions, prompts, tool_calls, cost_usd, session"
        " FROM aibridge_v_sessions WHERE $__timeFilter(last_at) ORDER BY cost_usd DESC LIMIT 50",
    ),
    _metrics("Budgets used", ("{{scope}} {{name}}", "max by (scope, name) (budget_used_ratio)"), unit="percentunit"),
    _metrics("Prompts", ("{{client}}", "sum by (client) (rate(prompts_total[$__rate_interval]))"), unit="reqps"),
)

_RELIABILITY = (
    _metrics("Requests", ("{{status}}", "sum by (status) (rate(interceptions_total[$__rate_interval]))"), unit="reqps"),
    _metrics(
        "Errors",
        ("of all requests", f"{_ERRORS} / sum(rate(interceptions_total[$__rate_interval]))"),
        unit="percentunit",
    ),
    _metrics(
        "Time to first byte",
        *((f"P{part * 100:.0f}", _quantile(part, "time_to_first_byte_seconds")) for part in (0.5, 0.95)),
        unit="s",
    ),
    _metrics("Duration, P95", ("{{model}}", _quantile(0.95, "interceptions_duration_seconds", "model")), unit="s"),
    _metrics(
        "The gateway's own share, P95", ("{{provider}}", _quantile(0.95, "overhead_seconds", "provider")), unit="s"
    ),
    _metrics("Commits, P95", ("commit", _quantile(0.95, "recorder_commit_seconds")), unit="s"),
    _metrics("Spooled rows", ("rows", "sum(recorder_spooled_rows)"), ("queued", "sum(recorder_queue_rows)")),
    _metrics(
        "Circuits", ("{{provider}}{{endpoint}} {{model}}", "max by (provider, endpoint, model) (circuit_breaker_state)")
    ),
    _metrics(
        "Refusals", ("{{provider}} {{status}}", "sum by (provider, status) (rate(refusals_total[$__rate_interval]))")
    ),
    _sql(
        "Latest failures",
        "table",
        "SELECT started_at, actor, client, provider_name, model, http_status, error FROM aibridge_v_interceptions"
        " WHERE $__timeFilter(started_at) AND status IN ('failed', 'interrupted') ORDER BY started_at DESC LIMIT 50",
        "short",
    ),
)


def all_boards() -> dict[str, Json]:
    """Return the boards by the name of their file."""
    return {
        "overview.json": board("aibridge-overview", "aibridge: Overview", _OVERVIEW),
        "people.json": board("aibridge-people", "aibridge: People", _PEOPLE),
        "reliability.json": board("aibridge-reliability", "aibridge: Reliability", _RELIABILITY),
    }
