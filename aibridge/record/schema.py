"""The tables, as they are now. How a database gets there is the business of `migrations`.

Rows of an exchange refer to its interception, and go with it when it is deleted (``ON DELETE CASCADE``; in
SQLite's shell after ``PRAGMA foreign_keys = ON``). The check costs one look into the parent's key, whose page
has just been written; in return no row is ever without its exchange, and who removes an interception has
removed all that was said in it. It asks for order only: the interception first, which is how the gateway
works, how a batch is sorted and how a replay goes.

Indexes serve an operator's questions: what one actor did in a span of time, a session, which interception
made the call that this one brings the result of, and what there is of a provider's response or tool call id.
Indexes are more than half of what a row costs, so there is no second way to the same place: a response's id leads
through its one row in ``aibridge_token_usages`` to the interception and so to all else.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

from .columns import Id, Json, UtcDateTime
from .records import IN_PROGRESS

PREFIX = "aibridge_"

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)


def _tokens(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _of_interception(name: str, *columns: Column[Any] | Index) -> Table:
    """A table of things that belong to an interception."""
    return Table(
        PREFIX + name,
        metadata,
        Column("id", Id, primary_key=True),
        Column(
            "interception_id",
            Id,
            ForeignKey("aibridge_interceptions.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        *columns,
        Column("metadata", Json, nullable=False),
        Column("created_at", UtcDateTime, nullable=False, index=True),
    )


interceptions = Table(
    "aibridge_interceptions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("initiator_id", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("provider_name", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("client_session_id", Text, index=True),
    Column("user_agent", Text),
    Column("correlating_tool_call_id", Text, index=True),
    Column("credential_kind", Text, nullable=False),
    Column("credential_hint", Text),
    Column("streaming", Boolean, nullable=False),
    Column("started_at", UtcDateTime, nullable=False, index=True),
    Column("ended_at", UtcDateTime),
    Column("status", Text, nullable=False, server_default=IN_PROGRESS),
    Column("http_status", Integer),
    Column("error", Text),
    Column("upstream_requests", Integer, nullable=False, server_default=text("0")),
    Column("metadata", Json, nullable=False),
    Column("process_id", Id),
    Index(None, "initiator_id", "started_at"),
)

processes = Table(
    "aibridge_processes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("host", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("oldest_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
)
"""One row for each start of a gateway; `aibridge.record.leases` says what they are for."""

token_usages = _of_interception(
    "token_usages",
    Column("provider_response_id", Text, index=True),
    _tokens("input_tokens"),
    _tokens("output_tokens"),
    _tokens("cache_read_input_tokens"),
    _tokens("cache_write_input_tokens"),
)

user_prompts = _of_interception(
    "user_prompts",
    Column("provider_response_id", Text),
    Column("prompt", Text),
)

tool_usages = _of_interception(
    "tool_usages",
    Column("provider_response_id", Text),
    Column("tool_call_id", Text, index=True),
    Column("server_url", Text),
    Column("tool", Text, nullable=False),
    Column("input", Json),
    Column("injected", Boolean, nullable=False),
    Column("invocation_error", Text),
    Column("output", Json),
    Column("duration_ms", Float),
)

model_thoughts = _of_interception("model_thoughts", Column("content", Text))

keys = Table(
    "aibridge_keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("hash", Text, nullable=False, index=True, unique=True),
    Column("hint", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
)
"""The gateway's own keys: of each the SHA-256, in hexadecimal, and never the key."""

toolsets = Table(
    "aibridge_toolsets",
    metadata,
    Column("id", Id, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
"""Injected tools, each list once. Text and not JSON, which PostgreSQL would put into another order."""

turns = Table(
    "aibridge_turns",
    metadata,
    Column("id", Id, primary_key=True),
    Column("initiator_id", Text, nullable=False),
    Column("provider_name", Text, nullable=False),
    Column("toolset_id", Id, ForeignKey("aibridge_toolsets.id"), nullable=False, index=True),
    Column("content", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
)
"""What is remembered of answers in conversations with injected tools."""

anchors = Table(
    "aibridge_anchors",
    metadata,
    Column("id", Id, primary_key=True),
    Column("turn_id", Id, ForeignKey("aibridge_turns.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", UtcDateTime, nullable=False),
)
"""What these answers are found by; of several with one anchor the last."""
