"""The cost of answers, in billionths of a dollar, and the table of prices by which it was found."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

TABLE = "aibridge_token_usages"


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("cost_nanousd", sa.BigInteger))
    op.add_column(TABLE, sa.Column("price_version", sa.Text))


def downgrade() -> None:
    with op.batch_alter_table(TABLE) as table:
        table.drop_column("price_version")
        table.drop_column("cost_nanousd")
