"""The export over HTTP."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.server import Site

from aibridge.console import export_stream
from aibridge.console.settings import ConsoleSettings
from aibridge.identity.key_store import KeyStore

from ..insight.records import USD
from ..record.databases import OnSQLite
from ..record.postgresql import OnPostgreSQL
from .site import WithConsole


class ExportTests(WithConsole):
    """Tests for every database."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(export_stream, "PAGE_ROWS", 3)
        at = datetime.now(UTC) - timedelta(hours=1)
        for number in range(7):
            self.exchange(at + timedelta(minutes=number), model=f"m{number % 2}", prompt="=my words", cost=USD // 2)

    async def export(self, query: str, **given: Any) -> tuple[int, str]:
        status, body = await self.ask_raw(f"export?{query}", **given)
        return status, body.decode()

    async def test_json_lines(self) -> None:
        """Each interception is a line, newest first, with all that is recorded of it; the look is recorded."""
        status, body = await self.export("model=m0")
        lines = [json.loads(line) for line in body.splitlines()]
        self.assertEqual((status, len(lines)), (200, 4))
        self.assertEqual(
            [line["started_at"] for line in lines], sorted((line["started_at"] for line in lines), reverse=True)
        )
        self.assertEqual((lines[0]["cost_usd"], lines[0]["user_prompts"][0]["prompt"]), ("0.5", "=my words"))
        self.assertEqual(self.audited(), [("export", "")])

    async def test_csv(self) -> None:
        """CSV has a row for each interception; no cell is a spreadsheet's formula."""
        self.exchange(datetime.now(UTC), model="=cmd()", metadata={"team": "core"})
        status, body = await self.export("format=csv")
        rows = [*csv.DictReader(io.StringIO(body))]
        self.assertEqual((status, len(rows)), (200, 8))
        self.assertEqual((rows[0]["model"], rows[0]["team"], rows[1]["cost_usd"]), ("'=cmd()", "core", "0.5"))
        self.assertEqual(self.headers.getRawHeaders("content-disposition"), ['attachment; filename="aibridge.csv"'])

    async def test_figures_only(self) -> None:
        """A viewer exports figures, and no content."""
        self.start(ConsoleSettings(auth="password"))
        key = KeyStore(self.url).create("robot", {}, None, "viewer")
        status, body = await self.export("", headers={"X-AIBridge-Key": [key]})
        self.assertEqual((status, len(body.splitlines())), (200, 7))
        self.assertNotIn("my words", body)
        self.assertEqual(self.audited(), [])

    async def test_wrong(self) -> None:
        """A wrong parameter is refused before anything is written."""
        for query in ("format=xml", "limit=5", "colour=red", "cursor=x"):
            status, body = await self.export(query)
            self.assertEqual((status, "error" in json.loads(body)), (400, True), query)

    async def test_backpressure(self) -> None:
        """While the client's connection is full no further page is read."""
        read: list[int] = []
        own = export_stream.detailed_interceptions
        self.patch(
            export_stream, "detailed_interceptions", lambda *args, **rest: (read.append(1), own(*args, **rest))[1]
        )
        request = _SlowRequest()
        wanted, form = export_stream.read_export({})
        stream = export_stream.ExportStream(request, self.site.queries, wanted, form, content=True)
        request.stream = stream
        done = Deferred.fromCoroutine(stream.run())
        for pages in (1, 2, 3):
            for _ in range(100):
                await self.turn()
            self.assertEqual((len(read), done.called), (pages, False))
            stream.resumeProducing()
        for _ in range(100):
            await self.turn()
        self.assertTrue(done.called)
        self.assertEqual(len(b"".join(request.written).splitlines()), 7)

    async def test_client_leaves(self) -> None:
        """A client that leaves within an export ends it, and nothing is logged as an error."""
        channel: Any = Site(self.site.root).buildProtocol(None)  # type: ignore[no-untyped-call]
        transport = _FullTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 5000))
        channel.makeConnection(transport)
        channel.dataReceived(b"GET /api/v1/export HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        for _ in range(2000):
            if b"my words" in transport.value():
                break
            await self.turn()
        self.assertEqual(transport.value().count(b"my words"), 3)
        channel.connectionLost(Failure(ConnectionDone()))
        for _ in range(10):
            await self.turn()
        self.assertEqual(self.flushLoggedErrors(), [])


class _FullTransport(StringTransport):
    """A connection that is full after each write."""

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.producer is not None:
            self.producer.pauseProducing()


class _SlowRequest:
    """A request whose connection is full after each write."""

    channel = object()

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.stream: Any = None

    def setHeader(self, name: str, value: str) -> None:
        pass

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        pass

    def unregisterProducer(self) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self.stream.pauseProducing()


class SQLiteExportTests(ExportTests, OnSQLite):
    """On SQLite."""


class PostgreSQLExportTests(ExportTests, OnPostgreSQL):
    """On PostgreSQL."""


del ExportTests
