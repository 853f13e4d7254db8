"""How an answer was served, in its own words: they decide on its price."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

TABLE = "aibridge_token_usages"
COLUMNS = ("served_model", "service_tier", "speed", "inference_geo")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column(TABLE, sa.Column(name, sa.Text))


def downgrade() -> None:
    with op.batch_alter_table(TABLE) as table:
        for name in COLUMNS:
            table.drop_column(name)
