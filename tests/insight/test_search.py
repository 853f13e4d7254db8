"""The search in prompts and in tools' arguments, on each database."""

from datetime import timedelta
from typing import Any

from sqlalchemy import text

from aibridge.insight.filters import Filter, InvalidParameter, parse_filter
from aibridge.insight.search import SearchOff, search
from aibridge.record.erasure import erase
from aibridge.record.retention import purge
from aibridge.record.search_index import disable, enable

from ..record.databases import OnSQLite
from ..record.postgresql import OnPostgreSQL
from .records import NOW, WithRecords

HOUR = timedelta(hours=1)


class SearchTests(WithRecords):
    """Tests for every database."""

    def setUp(self) -> None:
        super().setUp()
        self.exchange(NOW - HOUR, prompt="Mend the Export of invoices", initiator_id="alice")
        list(enable(self.url))
        self.exchange(
            NOW, prompt='Why is the export slow? 100%_sure "quoted"', calls={"Bash": "t1"}, initiator_id="bob"
        )

    def found(self, words: str, filter_: Filter = Filter()) -> list[tuple[str, str]]:  # noqa: B008
        with self.connect() as connection:  # an open one would hold up the making of an index
            page = search(connection, filter_, words)
        return [(hit.kind, hit.initiator_id) for hit in page.rows]

    def test_words(self) -> None:
        """All words must be there, in any case and order, of rows from before and after the index was made."""
        self.assertEqual(self.found("export"), [("prompt", "bob"), ("prompt", "alice")])
        self.assertEqual(self.found("INVOICES mend"), [("prompt", "alice")])
        self.assertEqual(self.found("invoices slow"), [])
        self.assertEqual(self.found("question"), [("tool_call", "bob")])
        self.assertEqual(self.found("export", Filter(actor="alice")), [("prompt", "alice")])

    def test_nothing_is_an_operator(self) -> None:
        """Whatever is typed is text."""
        for words in ('"', "'", "a OR b", "NEAR(a b)", "prompt:x", "*", "(", "\\", "-export", "\0", "^x", "a" * 500):
            try:
                self.found(words)
            except InvalidParameter:
                self.assertEqual(words, "\0")
        self.assertEqual(self.found("%"), [] if "sqlite" in self.url else [("prompt", "bob")])

    def test_excerpt(self) -> None:
        """A hit has the text around the first word."""
        self.exchange(NOW, prompt="x " * 500 + "needle" + " y" * 500)
        [hit] = search(self.connect(), Filter(), "needle").rows
        self.assertIn("needle", hit.excerpt)
        self.assertTrue(hit.excerpt.startswith("…") and hit.excerpt.endswith("…") and len(hit.excerpt) < 250)

    def test_pages(self) -> None:
        """Hits are paged."""
        first = search(self.connect(), Filter(limit=1), "export")
        assert first.next_cursor is not None
        rest = search(self.connect(), parse_filter({"cursor": [first.next_cursor]}), "export")
        self.assertEqual([hit.initiator_id for hit in (*first.rows, *rest.rows)], ["bob", "alice"])

    def test_erased(self) -> None:
        """What is erased or purged is found no more, and is in no index."""
        for _ in erase(self.store, "bob", "p1"):
            pass
        self.assertEqual(self.found("export"), [("prompt", "alice")])
        for _ in purge(self.store, NOW):
            pass
        self.assertEqual(self.found("export"), [])
        if "sqlite" in self.url:
            with self.store.transaction() as connection:
                query = "SELECT count(*) FROM search_aibridge_prompts WHERE search_aibridge_prompts MATCH 'export'"
                self.assertEqual(connection.scalar(text(query)), 0)

    def test_off(self) -> None:
        """Without the index the search says how to enable it; it can be made again at any time."""
        list(enable(self.url))
        self.assertEqual(len(self.found("export")), 2)
        disable(self.url)
        error: Any = self.assertRaises(SearchOff, self.found, "export")
        self.assertIn("aibridge db search enable", str(error))
        self.exchange(NOW, prompt="unindexed export")
        list(enable(self.url))
        self.assertEqual(len(self.found("export")), 3)


class SQLiteSearchTests(SearchTests, OnSQLite):
    """On SQLite."""


class PostgreSQLSearchTests(SearchTests, OnPostgreSQL):
    """On PostgreSQL."""


del SearchTests
