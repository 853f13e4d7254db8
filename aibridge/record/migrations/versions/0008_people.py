"""The table of users who are disabled, and the table of what operators have done and seen."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"

ID = sa.Uuid().with_variant(sa.CHAR(36), "sqlite")
TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "aibridge_users",
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("disabled_at", TIME),
        sa.PrimaryKeyConstraint("actor", name="pk_aibridge_users"),
    )
    op.create_table(
        "aibridge_audit",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_aibridge_audit"),
    )
    op.create_index("ix_aibridge_audit_created_at", "aibridge_audit", ["created_at"])


def downgrade() -> None:
    op.drop_table("aibridge_audit")
    op.drop_table("aibridge_users")
