"""The table of the versions of aibridge that upgraded the database, for the words of versions that are too old."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "aibridge_versions",
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("upgraded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("revision", name="pk_aibridge_versions"),
    )


def downgrade() -> None:
    op.drop_table("aibridge_versions")
