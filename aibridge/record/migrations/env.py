"""Run by Alembic, on the connection that `aibridge.record.migrations` opened."""

from typing import Any

from alembic import context

from aibridge.record.migrations import VERSION_TABLE
from aibridge.record.schema import PREFIX, metadata


def _is_ours(name: str | None, kind: str, parents: Any) -> bool:
    """Other tables in the same database are the host program's business."""
    return kind != "table" or (name or "").startswith(PREFIX)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    include_name=_is_ours,
    render_as_batch=True,  # SQLite can't alter a column in place
)
with context.begin_transaction():
    context.run_migrations()
