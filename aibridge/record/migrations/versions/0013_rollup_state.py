"""What the keeper of roll-ups has done, and what it still has to do."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

ID = sa.Uuid().with_variant(sa.CHAR(36), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "aibridge_rollup_state",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("holder", ID),
        *(sa.Column(name, TIME) for name in ("leads_until", "since", "rolled_at", "frozen_before")),
        sa.PrimaryKeyConstraint("name", name="pk_aibridge_rollup_state"),
    )
    op.create_table(
        "aibridge_rollup_marks",
        sa.Column("id", ID, nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_aibridge_rollup_marks"),
    )


def downgrade() -> None:
    op.drop_table("aibridge_rollup_marks")
    op.drop_table("aibridge_rollup_state")
