"""Run by Alembic, on the connection that `aibridge.record.migrations` opened."""

from typing import Any

from alembic import context

from aibridge.record import console_tables, rollup_tables
from aibridge.record.database import VERSION_TABLE
from aibridge.record.schema import PREFIX, metadata

# Their tables belong to the schema too.
assert rollup_tables.usage_hourly.metadata is metadata and console_tables.console_users.metadata is metadata


def is_own(name: str | None, kind: str, parents: Any) -> bool:
    """True for the gateway's tables; others in the same database belong to the host program."""
    return kind != "table" or (name or "").startswith(PREFIX)


on_step = context.config.attributes.get("on_step", lambda: None)
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    include_name=is_own,
    render_as_batch=True,  # SQLite can't alter a column in place
    on_version_apply=lambda **_: on_step(),
)
with context.begin_transaction():
    context.run_migrations()
