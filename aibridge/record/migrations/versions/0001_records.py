"""The five tables of records."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

ID = sa.Uuid().with_variant(sa.CHAR(36), "sqlite")
TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
CHILDREN = ("token_usages", "user_prompts", "tool_usages", "model_thoughts")


def upgrade() -> None:
    _create_interceptions()
    _create_child(
        "token_usages",
        sa.Column("provider_response_id", sa.Text),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("cache_read_input_tokens", sa.BigInteger, nullable=False),
        sa.Column("cache_write_input_tokens", sa.BigInteger, nullable=False),
    )
    _index("token_usages", "provider_response_id")
    _create_child(
        "user_prompts",
        sa.Column("provider_response_id", sa.Text),
        sa.Column("prompt", sa.Text),
    )
    _create_tool_usages()
    _create_child("model_thoughts", sa.Column("content", sa.Text))


def _create_interceptions() -> None:
    op.create_table(
        "aibridge_interceptions",
        sa.Column("id", ID, nullable=False),
        sa.Column("initiator_id", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("provider_name", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("client_session_id", sa.Text),
        sa.Column("user_agent", sa.Text),
        sa.Column("correlating_tool_call_id", sa.Text),
        sa.Column("credential_kind", sa.Text, nullable=False),
        sa.Column("credential_hint", sa.Text),
        sa.Column("streaming", sa.Boolean, nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.Column("status", sa.Text, nullable=False, server_default="in_progress"),
        sa.Column("http_status", sa.Integer),
        sa.Column("error", sa.Text),
        sa.Column("upstream_requests", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("metadata", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_aibridge_interceptions"),
    )
    _index("interceptions", "client_session_id")
    _index("interceptions", "correlating_tool_call_id")
    _index("interceptions", "initiator_id", "started_at")
    _index("interceptions", "started_at")


def _create_tool_usages() -> None:
    _create_child(
        "tool_usages",
        sa.Column("provider_response_id", sa.Text),
        sa.Column("tool_call_id", sa.Text),
        sa.Column("server_url", sa.Text),
        sa.Column("tool", sa.Text, nullable=False),
        sa.Column("input", JSON),
        sa.Column("injected", sa.Boolean, nullable=False),
        sa.Column("invocation_error", sa.Text),
        sa.Column("output", JSON),
        sa.Column("duration_ms", sa.Float),
    )
    _index("tool_usages", "tool_call_id")


def _create_child(name: str, *columns: sa.Column[Any]) -> None:
    table = f"aibridge_{name}"
    op.create_table(
        table,
        sa.Column("id", ID, nullable=False),
        sa.Column("interception_id", ID, nullable=False),
        *columns,
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        sa.ForeignKeyConstraint(
            ["interception_id"],
            ["aibridge_interceptions.id"],
            name=f"fk_{table}_interception_id",
            ondelete="CASCADE",
        ),
    )
    _index(name, "interception_id")
    _index(name, "created_at")


def _index(name: str, *columns: str) -> None:
    table = f"aibridge_{name}"
    op.create_index("_".join(["ix", table, *columns]), table, list(columns))


def downgrade() -> None:
    for child in CHILDREN:
        op.drop_table(f"aibridge_{child}")
    op.drop_table("aibridge_interceptions")
