"""Sums by the hour, sessions, and the time to the first byte of an answer."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

ID = sa.Uuid().with_variant(sa.CHAR(36), "sqlite")
TIME = sa.DateTime(timezone=True)
TOKENS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens")
COSTS = ("cost_nanousd", "unpriced_tokens")
CLASSES = 12
OF_AN_INTERCEPTION = ("actor", "team", "provider", "model", "client")


def upgrade() -> None:
    op.add_column("aibridge_interceptions", sa.Column("first_byte_ms", sa.Float))
    op.create_table(
        "aibridge_usage_hourly",
        sa.Column("hour", TIME, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in OF_AN_INTERCEPTION),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("requests", "errors", *TOKENS, *COSTS)),
        *(sa.Column(f"first_byte_{number}", sa.Integer, nullable=False) for number in range(CLASSES)),
    )
    op.create_table(
        "aibridge_tools_hourly",
        sa.Column("hour", TIME, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in (*OF_AN_INTERCEPTION, "tool", "server_url")),
        sa.Column("injected", sa.Boolean, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("calls", "errors")),
        *(sa.Column(f"duration_{number}", sa.Integer, nullable=False) for number in range(CLASSES)),
    )
    counts = ("interceptions", "errors", "prompts", "tool_calls", *TOKENS, *COSTS)
    op.create_table(
        "aibridge_sessions",
        sa.Column("id", ID, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("session", "actor", "client", "team")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("provider", "model")),
        *(sa.Column(name, TIME, nullable=False) for name in ("first_at", "last_at")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in counts),
        sa.Column("first_prompt", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_aibridge_sessions"),
    )
    _index("aibridge_usage_hourly", "hour")
    _index("aibridge_usage_hourly", "actor", "hour")
    _index("aibridge_tools_hourly", "hour")
    _index("aibridge_sessions", "session")
    _index("aibridge_sessions", "last_at", "id")
    _index("aibridge_sessions", "actor", "last_at")


def _index(table: str, *columns: str) -> None:
    op.create_index("_".join(["ix", table, *columns]), table, list(columns))


def downgrade() -> None:
    for name in ("sessions", "tools_hourly", "usage_hourly"):
        op.drop_table(f"aibridge_{name}")
    with op.batch_alter_table("aibridge_interceptions") as table:
        table.drop_column("first_byte_ms")
