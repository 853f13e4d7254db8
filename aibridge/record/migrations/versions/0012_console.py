"""Users of the console, their sessions, and keys for its API."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("aibridge_keys", sa.Column("console_role", sa.Text))
    op.create_table(
        "aibridge_console_users",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("password", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_aibridge_console_users"),
    )
    op.create_table(
        "aibridge_console_sessions",
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_aibridge_console_sessions"),
    )
    op.create_index("ix_aibridge_console_sessions_expires_at", "aibridge_console_sessions", ["expires_at"])


def downgrade() -> None:
    op.drop_table("aibridge_console_sessions")
    op.drop_table("aibridge_console_users")
    with op.batch_alter_table("aibridge_keys") as table:
        table.drop_column("console_role")
