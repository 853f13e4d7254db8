"""What is remembered of conversations with injected tools."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

ID = sa.Uuid().with_variant(sa.CHAR(36), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "aibridge_toolsets",
        sa.Column("id", ID, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_aibridge_toolsets"),
    )
    op.create_table(
        "aibridge_turns",
        sa.Column("id", ID, nullable=False),
        sa.Column("initiator_id", sa.Text, nullable=False),
        sa.Column("provider_name", sa.Text, nullable=False),
        sa.Column("toolset_id", ID, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_aibridge_turns"),
        sa.ForeignKeyConstraint(["toolset_id"], ["aibridge_toolsets.id"], name="fk_aibridge_turns_toolset_id"),
    )
    op.create_index("ix_aibridge_turns_created_at", "aibridge_turns", ["created_at"])
    op.create_table(
        "aibridge_anchors",
        sa.Column("id", ID, nullable=False),
        sa.Column("turn_id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_aibridge_anchors"),
        sa.ForeignKeyConstraint(
            ["turn_id"], ["aibridge_turns.id"], name="fk_aibridge_anchors_turn_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_aibridge_anchors_turn_id", "aibridge_anchors", ["turn_id"])


def downgrade() -> None:
    op.drop_table("aibridge_anchors")
    op.drop_table("aibridge_turns")
    op.drop_table("aibridge_toolsets")
