"""The tables, as they are now. `migrations` brings a database there.

Rows of an exchange refer to its interception, and go with it when it is deleted (``ON DELETE CASCADE``; in
SQLite's shell after ``PRAGMA foreign_keys = ON``). The check costs one look into the parent's key, whose page
has just been written; in return no row is ever without its exchange, and who removes an interception has
removed everything that was said in it. It asks for order only: the interception first, which is how the gateway
works, how a batch is sorted and how a replay goes.

Indexes serve an operator's questions: what one actor did in a span of time, a session, which interception
made the call that this one brings the result of, and what there is of a provider's response or tool call id.
Indexes are more than half of what a row costs, so there is no second way to the same place: a response's id leads
through its one row in ``aibridge_token_usages`` to the interception and so to everything else.
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

from .column_types import Id, Json, UtcDateTime
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
    """Return a table whose rows belong to an interception."""
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
    Column("first_byte_ms", Float),
    Column("reserved_nanousd", BigInteger),
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
"""Starts of a gateway; `aibridge.record.leases` explains them."""

token_usages = _of_interception(
    "token_usages",
    Column("provider_response_id", Text, index=True),
    Column("served_model", Text),
    Column("service_tier", Text),
    Column("speed", Text),
    Column("inference_geo", Text),
    _tokens("input_tokens"),
    _tokens("output_tokens"),
    _tokens("cache_read_input_tokens"),
    _tokens("cache_write_input_tokens"),
    Column("cost_nanousd", BigInteger),
    Column("price_version", Text),
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
    Column("console_role", Text),
)
"""The gateway's own keys: the SHA-256 of each in hexadecimal, never the key itself. One with a role opens the console
in place of the gateway."""

versions = Table(
    "aibridge_versions",
    metadata,
    Column("revision", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("upgraded_at", UtcDateTime, nullable=False),
)
"""The version of aibridge that brought the database to each revision. An older version names it when it refuses."""

users = Table(
    "aibridge_users",
    metadata,
    Column("actor", Text, primary_key=True),
    Column("disabled_at", UtcDateTime),
)
"""Users whom the operator has disabled. Whom it does not name is enabled."""

audit = Table(
    "aibridge_audit",
    metadata,
    Column("id", Id, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("actor", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", Json, nullable=False),
)
"""The audit: who did or saw what, when and from where. `aibridge.record.audit` adds to it."""

toolsets = Table(
    "aibridge_toolsets",
    metadata,
    Column("id", Id, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
"""Lists of injected tools, each list once. They are text because PostgreSQL would reorder JSON."""

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
"""The hidden parts of answers in conversations with injected tools."""

anchors = Table(
    "aibridge_anchors",
    metadata,
    Column("id", Id, primary_key=True),
    Column("turn_id", Id, ForeignKey("aibridge_turns.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", UtcDateTime, nullable=False),
)
"""Digests by which these answers are found again; of several answers with one anchor, the last one counts."""

stored_objects = Table(
    "aibridge_stored_objects",
    metadata,
    Column("id", Id, primary_key=True),
    Column("object_id", Text, nullable=False, index=True),
    Column("provider_name", Text, nullable=False),
    Column("initiator_id", Text, nullable=False),
    Column("credential_hint", Text),
    Column("created_at", UtcDateTime, nullable=False, index=True),
)
"""Objects that providers store for actors and that no interception made. Responses are found by their token rows."""

budgets = Table(
    "aibridge_budgets",
    metadata,
    Column("id", Id, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("limit_nanousd", BigInteger),
    Column("revision", BigInteger, nullable=False, index=True, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("removed_at", UtcDateTime),
    Index(None, "scope", "name", "period", unique=True),
)
"""Caps on money. A removed cap keeps its row, so that the highest revision rises with every change."""

budget_periods = Table(
    "aibridge_budget_periods",
    metadata,
    Column("budget_id", Id, ForeignKey("aibridge_budgets.id", ondelete="CASCADE"), primary_key=True),
    Column("starts_at", UtcDateTime, primary_key=True),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("spent_nanousd", BigInteger, nullable=False),
    Column("reserved_nanousd", BigInteger, nullable=False),
    Column("warned", Integer, nullable=False, server_default=text("0")),
)
"""The money of each period of a cap: spent, and reserved by requests under way. `aibridge.record.budgets.accounts`."""

budget_notices = Table(
    "aibridge_budget_notices",
    metadata,
    Column("id", Id, primary_key=True),
    Column("content", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("due_at", UtcDateTime, nullable=False, index=True),
)
"""Warnings that the webhook has not taken yet."""
