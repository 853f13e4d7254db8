"""The gateway's own keys."""

from datetime import datetime

from sqlalchemy import Connection, select

from ..record.schema import keys as table
from ..record.values import bounded
from .conditions import one_page
from .cursors import Page, make_page
from .filters import Filter
from .rows import KeyRow


def keys(connection: Connection, wanted: Filter, now: datetime) -> Page[KeyRow]:
    """Return the keys of all actors, or of the filter's, the latest first."""
    k = table.c
    order = (k.created_at, k.id)
    query = select(k.id, k.hint, k.actor, k.metadata, k.created_at, k.expires_at, k.revoked_at, k.console_role)
    if wanted.actor:
        query = query.where(k.actor == bounded(wanted.actor))

    def state(expires_at: datetime | None, revoked_at: datetime | None) -> str:
        if revoked_at is not None:
            return "revoked"
        return "expired" if expires_at is not None and now >= expires_at else "valid"

    found = connection.execute(one_page(query, wanted, order)).mappings()
    rows = [KeyRow(**row, state=state(row["expires_at"], row["revoked_at"])) for row in found]
    return make_page(rows, wanted.limit, lambda row: (row.created_at, row.id))
