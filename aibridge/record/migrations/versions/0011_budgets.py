"""Caps on money, their periods, the warnings about them, and what each interception reserves."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011"
down_revision = "0010"

ID = sa.Uuid().with_variant(sa.CHAR(36), "sqlite")
TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
INTERCEPTIONS = "aibridge_interceptions"
BUDGETS = "aibridge_budgets"
PERIODS = "aibridge_budget_periods"
NOTICES = "aibridge_budget_notices"


def upgrade() -> None:
    op.add_column(INTERCEPTIONS, sa.Column("reserved_nanousd", sa.BigInteger))
    op.create_table(
        BUDGETS,
        sa.Column("id", ID, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("period", sa.Text, nullable=False),
        sa.Column("limit_nanousd", sa.BigInteger),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("removed_at", TIME),
        sa.PrimaryKeyConstraint("id", name=f"pk_{BUDGETS}"),
    )
    op.create_index(f"ix_{BUDGETS}_revision", BUDGETS, ["revision"], unique=True)
    op.create_index(f"ix_{BUDGETS}_scope_name_period", BUDGETS, ["scope", "name", "period"], unique=True)
    op.create_table(
        PERIODS,
        sa.Column("budget_id", ID, nullable=False),
        sa.Column("starts_at", TIME, nullable=False),
        sa.Column("ends_at", TIME, nullable=False),
        sa.Column("spent_nanousd", sa.BigInteger, nullable=False),
        sa.Column("reserved_nanousd", sa.BigInteger, nullable=False),
        sa.Column("warned", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("budget_id", "starts_at", name=f"pk_{PERIODS}"),
        sa.ForeignKeyConstraint(["budget_id"], [f"{BUDGETS}.id"], name=f"fk_{PERIODS}_budget_id", ondelete="CASCADE"),
    )
    op.create_table(
        NOTICES,
        sa.Column("id", ID, nullable=False),
        sa.Column("content", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("due_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{NOTICES}"),
    )
    op.create_index(f"ix_{NOTICES}_due_at", NOTICES, ["due_at"])


def downgrade() -> None:
    for name in (NOTICES, PERIODS, BUDGETS):
        op.drop_table(name)
    with op.batch_alter_table(INTERCEPTIONS) as table:
        table.drop_column("reserved_nanousd")
