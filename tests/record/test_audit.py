"""The audit: entries of what was done and seen."""

import os

from aibridge.record.audit import AuditEntry, add_entry, operator_entry
from aibridge.record.schema import audit
from aibridge.record.store import Store
from aibridge.record.values import LONGEST_INDEXED, utc_now

from .databases import OnSQLite, rows
from .postgresql import OnPostgreSQL


class AuditTests:
    """Entries in a database of either kind."""

    url: str

    def test_entry(self) -> None:
        """An entry says who did what to whom, when and from where, with further facts."""
        store = Store(self.url)
        self.addCleanup(store.close)
        store.open()
        began = utc_now()
        with store.transaction() as connection:
            add_entry(
                connection,
                AuditEntry(actor="zoë", origin="10.0.0.7", action="view session", subject="s1", details={"rows": 3}),
            )
        [row] = rows(self.url, audit)
        self.assertEqual(
            [row[name] for name in ("actor", "origin", "action", "subject", "details")],
            ["zoë", "10.0.0.7", "view session", "s1", {"rows": 3}],
        )
        self.assertTrue(began <= row["created_at"] <= utc_now())

    def test_any_text(self) -> None:
        """A text that a database can't hold as it is, or a very long one, does not keep an entry from being added."""
        store = Store(self.url)
        self.addCleanup(store.close)
        store.open()
        with store.transaction() as connection:
            add_entry(connection, AuditEntry(actor="a\0b", origin="\udcff", action="view", subject="x" * 10_000))
        [row] = rows(self.url, audit)
        self.assertLessEqual(len(row["subject"]), LONGEST_INDEXED)

    def test_operator(self) -> None:
        """A command's entry names the user of this machine, also behind sudo."""
        self.patch(os, "environ", {"SUDO_USER": "carol"})
        entry = operator_entry("erase", "alice", rows=2)
        self.assertEqual((entry.actor, entry.subject, entry.details), ("carol", "alice", {"rows": 2}))
        self.assertIn("command line of ", entry.origin)


class SQLiteAuditTests(AuditTests, OnSQLite):
    """On SQLite."""


class PostgreSQLAuditTests(AuditTests, OnPostgreSQL):
    """On PostgreSQL."""
