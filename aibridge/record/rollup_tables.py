"""The tables of roll-ups: sums by the hour and by the day, and sessions. `aibridge.record.rollups` keeps them.

They have no keys of their own but an id where one is needed: names that clients make up can be longer than an index
entry may be. An hour, a day, or a session is always deleted and written as a whole.
"""

from collections.abc import Sequence

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, Text

from .column_types import Id, UtcDateTime
from .schema import metadata

BOUNDS_MS = (50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200)
"""The upper bounds of the histograms' classes, in milliseconds; a last class is without one."""

FIRST_BYTE = tuple(f"first_byte_{number}" for number in range(len(BOUNDS_MS) + 1))
DURATION = tuple(f"duration_{number}" for number in range(len(BOUNDS_MS) + 1))
"""The columns of the histograms' classes."""

TOKENS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens")
FIGURES = ("requests", "errors", *TOKENS, "cost_nanousd", "unpriced_tokens")
"""Columns of sums. ``errors`` counts what failed or was interrupted; ``unpriced_tokens`` those of unknown cost."""


_OF_REQUESTS = ("team", "provider", "model", "client")
"""Columns of sums that tell requests apart, besides their actor."""


def _names(*names: str) -> list[Column[str]]:
    return [Column(name, Text, nullable=False) for name in names]


def _counts(*names: str) -> list[Column[int]]:
    return [Column(name, BigInteger, nullable=False) for name in names]


usage_hourly = Table(
    "aibridge_usage_hourly",
    metadata,
    Column("hour", UtcDateTime, nullable=False, index=True),
    *_names("actor", *_OF_REQUESTS),
    *_counts(*FIGURES),
    *(Column(name, Integer, nullable=False) for name in FIRST_BYTE),
    Index(None, "actor", "hour"),
)
"""Interceptions by the hour in which they began. The team is empty where an actor has none."""

tools_hourly = Table(
    "aibridge_tools_hourly",
    metadata,
    Column("hour", UtcDateTime, nullable=False, index=True),
    *_names("actor", *_OF_REQUESTS, "tool", "server_url"),
    Column("injected", Boolean, nullable=False),
    *_counts("calls", "errors"),
    *(Column(name, Integer, nullable=False) for name in DURATION),
)
"""Calls of tools by the hour in which their interceptions began. ``server_url`` is empty for clients' own tools."""

usage_daily = Table(
    "aibridge_usage_daily",
    metadata,
    Column("day", UtcDateTime, nullable=False, index=True),
    *_names(*_OF_REQUESTS),
    *_counts(*FIGURES, *FIRST_BYTE),
)
"""Sums of `usage_hourly` by the day, in UTC, of all actors together: a few rows, however many people there are."""

people_daily = Table(
    "aibridge_people_daily",
    metadata,
    Column("day", UtcDateTime, nullable=False, index=True),
    *_names("actor", "team"),
    *_counts(*FIGURES, *FIRST_BYTE),
    Index(None, "actor", "day"),
)
"""Sums of `usage_hourly` by the day and the actor."""

tools_daily = Table(
    "aibridge_tools_daily",
    metadata,
    Column("day", UtcDateTime, nullable=False, index=True),
    *_names(*_OF_REQUESTS, "tool", "server_url"),
    Column("injected", Boolean, nullable=False),
    *_counts("calls", "errors", *DURATION),
)
"""Sums of `tools_hourly` by the day, of all actors together."""

DAYS: Sequence[tuple[Table, Table]] = (
    (usage_daily, usage_hourly),
    (people_daily, usage_hourly),
    (tools_daily, tools_hourly),
)
"""The tables of days, each with that of the hours which it sums up."""

sessions = Table(
    "aibridge_sessions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("session", Text, nullable=False, index=True),
    Column("actor", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("team", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("first_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    *_counts("interceptions", "errors", "prompts", "tool_calls", *TOKENS, "cost_nanousd", "unpriced_tokens"),
    Column("first_prompt", Text),
    Index(None, "last_at", "id"),
    Index(None, "actor", "last_at"),
)
"""Sessions of clients, by actor and client. Team, provider and model are those of most interceptions."""

rollup_state = Table(
    "aibridge_rollup_state",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Id),
    Column("leads_until", UtcDateTime),
    Column("since", UtcDateTime),
    Column("rolled_at", UtcDateTime),
    Column("frozen_before", UtcDateTime),
    Column("days_since", UtcDateTime),
)
"""A single row: who keeps the roll-ups and until when, unless that is extended; the moment before which no interception
was in progress at the last run; when that run began; the hour before which rows were purged, so that hours before it
are never made again; and the first day that has sums of its own: all have from there to the day of the last run, that
one excluded."""

rollup_marks = Table(
    "aibridge_rollup_marks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("since", UtcDateTime, nullable=False),
)
"""Changes of rows that are not new: interceptions that began since then are rolled up again."""
