"""Tools: how often models called each, how often it failed, and how long it took."""

from datetime import datetime

from sqlalchemy import Connection, RowMapping, select

from ..record.figures import total
from ..record.rollup_tables import DURATION
from .conditions import one_page
from .cursors import Page, make_page
from .filters import Filter
from .rows import ToolRow
from .sources import tools_source
from .usage import percentile


def tools(connection: Connection, wanted: Filter, now: datetime) -> Page[ToolRow]:
    """Return the tools by the number of their calls, the most called first."""
    source = tools_source(connection, wanted, now)
    keys = (source.c.tool, source.c.server_url, source.c.injected)
    sums = [total(source.c[name]).label(name) for name in ("calls", "errors", *DURATION)]
    rows = select(*keys, *sums).group_by(*keys).subquery()
    order = (rows.c.calls, rows.c.tool, rows.c.server_url)
    found = [_row(row) for row in connection.execute(one_page(select(rows), wanted, order)).mappings()]
    return make_page(found, wanted.limit, lambda row: (row.calls, row.tool, row.server_url))


def _row(row: RowMapping) -> ToolRow:
    histogram = [row[name] for name in DURATION]
    return ToolRow(
        tool=row["tool"],
        server_url=row["server_url"],
        injected=row["injected"],
        calls=row["calls"],
        errors=row["errors"],
        duration_p50=percentile(histogram, 0.5),
        duration_p95=percentile(histogram, 0.95),
    )
