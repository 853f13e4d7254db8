"""Sums by the day. A running gateway makes those of past days, step by step."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

TIME = sa.DateTime(timezone=True)
TOKENS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens")
OF_USAGE = ("requests", "errors", *TOKENS, "cost_nanousd", "unpriced_tokens")
CLASSES = 12
NAMES = ("team", "provider", "model", "client")


def upgrade() -> None:
    first_byte = tuple(f"first_byte_{number}" for number in range(CLASSES))
    duration = tuple(f"duration_{number}" for number in range(CLASSES))
    _table("usage_daily", NAMES, [], (*OF_USAGE, *first_byte))
    _table("people_daily", ("actor", "team"), [], (*OF_USAGE, *first_byte))
    injected = sa.Column("injected", sa.Boolean, nullable=False)
    _table("tools_daily", (*NAMES, "tool", "server_url"), [injected], ("calls", "errors", *duration))
    op.create_index("ix_aibridge_people_daily_actor_day", "aibridge_people_daily", ["actor", "day"])
    op.add_column("aibridge_rollup_state", sa.Column("days_since", TIME))


def _table(name: str, names: tuple[str, ...], others: list[sa.Column[bool]], counts: tuple[str, ...]) -> None:
    op.create_table(
        f"aibridge_{name}",
        sa.Column("day", TIME, nullable=False),
        *(sa.Column(each, sa.Text, nullable=False) for each in names),
        *others,
        *(sa.Column(each, sa.BigInteger, nullable=False) for each in counts),
    )
    op.create_index(f"ix_aibridge_{name}_day", f"aibridge_{name}", ["day"])


def downgrade() -> None:
    for name in ("usage_daily", "people_daily", "tools_daily"):
        op.drop_table(f"aibridge_{name}")
    with op.batch_alter_table("aibridge_rollup_state") as table:
        table.drop_column("days_since")
