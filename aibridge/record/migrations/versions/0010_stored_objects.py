"""Objects that providers store, such as files, with the actors who made them."""

import sqlalchemy as sa
from alembic import op

from aibridge.record.column_types import Id, UtcDateTime

revision = "0010"
down_revision = "0009"

TABLE = "aibridge_stored_objects"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("id", Id, nullable=False),
        sa.Column("object_id", sa.Text, nullable=False),
        sa.Column("provider_name", sa.Text, nullable=False),
        sa.Column("initiator_id", sa.Text, nullable=False),
        sa.Column("credential_hint", sa.Text),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{TABLE}"),
    )
    for column in ("object_id", "created_at"):
        op.create_index(f"ix_{TABLE}_{column}", TABLE, [column])


def downgrade() -> None:
    op.drop_table(TABLE)
