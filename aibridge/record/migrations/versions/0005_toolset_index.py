"""Which conversations a list of tools belongs to: asked before it is deleted."""

from alembic import op

revision = "0005"
down_revision = "0004"

NAME = "ix_aibridge_turns_toolset_id"


def upgrade() -> None:
    op.create_index(NAME, "aibridge_turns", ["toolset_id"])


def downgrade() -> None:
    op.drop_index(NAME, "aibridge_turns")
