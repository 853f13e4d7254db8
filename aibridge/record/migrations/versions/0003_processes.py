"""Which process an interception belongs to, so that after a crash it is known which ones nobody will end."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ID = sa.Uuid().with_variant(sa.CHAR(36), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "aibridge_processes",
        sa.Column("id", ID, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("oldest_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_aibridge_processes"),
    )
    op.add_column("aibridge_interceptions", sa.Column("process_id", ID))


def downgrade() -> None:
    with op.batch_alter_table("aibridge_interceptions") as table:
        table.drop_column("process_id")
    op.drop_table("aibridge_processes")
