"""The export over HTTP: what a filter shows, a page at a time, as fast as the client takes it."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
from attrs import evolve
from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from ..insight.cursors import Page, parse_cursor
from ..insight.filters import FILTERS, Filter, InvalidParameter, parse_filter, single_value
from ..insight.interceptions import detailed_interceptions, interceptions
from ..insight.query_pool import QueryPool
from ..insight.rows import InterceptionRow
from ..wire.jsontext import dump
from .headers import set_private_headers
from .json_rows import NANO, USD, json_of

PAGE_ROWS = 100
"""Interceptions that are in memory at a time, with everything that was said in them."""

FORMATS = {"jsonl": "application/jsonl; charset=utf-8", "csv": "text/csv; charset=utf-8"}
"""The media type of each format."""

_COLUMNS = [field.name for field in attrs.fields(InterceptionRow)]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet would run a cell that begins with one of these."""


def read_export(arguments: Mapping[str, Sequence[str]]) -> tuple[Filter, str]:
    """Return the filter and the format of an export. InvalidParameter for anything else."""
    form = single_value("format", arguments["format"]) if "format" in arguments else "jsonl"
    if form not in FORMATS:
        raise InvalidParameter("format", f"Unknown format {form[:20]!r}. Known: {', '.join(FORMATS)}.")
    filters = {name: values for name, values in arguments.items() if name != "format"}
    return evolve(parse_filter(filters, FILTERS), limit=PAGE_ROWS), form


@implementer(IPushProducer)
class ExportStream:
    """Writes an export to a request. While the client's connection is full it asks the database for nothing."""

    def __init__(self, request: Any, queries: QueryPool, wanted: Filter, form: str, *, content: bool) -> None:
        self._request = request
        self._queries = queries
        self._wanted = wanted
        self._form = form
        self._content = content
        self._resumed: Deferred[None] | None = None

    async def run(self) -> None:
        """Write everything. The first page is read before anything is written, so that its error is an answer."""
        page = await self._next_page()
        set_private_headers(self._request, FORMATS[self._form])
        self._request.setHeader("content-disposition", f'attachment; filename="aibridge.{self._form}"')
        self._request.registerProducer(self, True)
        try:
            if self._form == "csv":
                self._request.write(csv_lines([[_usd(name) for name in _COLUMNS]]))
            while True:
                self._request.write(b"".join(self._lines(page)))
                if self._resumed is not None:
                    await self._resumed
                if page.next_cursor is None:
                    return
                self._wanted = evolve(self._wanted, cursor=parse_cursor(page.next_cursor))
                page = await self._next_page()
        finally:
            if self._request.channel is not None:  # None once the client has left
                self._request.unregisterProducer()

    def _next_page(self) -> "Deferred[Page[Any]]":
        def question(connection: Connection) -> Page[Any]:
            if self._form == "csv":
                return interceptions(connection, self._wanted)
            return detailed_interceptions(connection, self._wanted, content=self._content)

        return self._queries.ask("export", question)

    def _lines(self, page: Page[Any]) -> Iterator[bytes]:
        if self._form == "csv":
            yield csv_lines([_cells(row) for row in page.rows])
        else:
            yield from (dump(json_of(detail)) + b"\n" for detail in page.rows)

    # IPushProducer

    def pauseProducing(self) -> None:
        """The client's connection is full."""
        if self._resumed is None:
            self._resumed = Deferred()

    def resumeProducing(self) -> None:
        """The client's connection has room again."""
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.callback(None)

    def stopProducing(self) -> None:
        """The client has left; whoever runs the export is told by its request."""


def csv_lines(rows: Sequence[Sequence[str]]) -> bytes:
    """Return rows of cells as lines of CSV."""
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows(rows)
    return lines.getvalue().encode("utf-8", "replace")


def _cells(row: InterceptionRow) -> list[str]:
    values: Any = json_of(row)
    cells = []
    for name in _COLUMNS:
        value = values[_usd(name)]
        text = "" if value is None else value if isinstance(value, str) else dump(value).decode()
        cells.append(f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text)
    return cells


def _usd(name: str) -> str:
    return name.removesuffix(NANO) + USD if name.endswith(NANO) else name
