"""The demo's month of records."""

from contextlib import closing
from datetime import UTC, datetime

from twisted.trial.unittest import SynchronousTestCase

from aibridge.commands import demo
from aibridge.commands.demo_records import make_month
from aibridge.insight.filters import Filter
from aibridge.insight.usage import overview
from aibridge.record.budgets.budget_store import BudgetStore
from aibridge.record.budgets.settings import BudgetSettings
from aibridge.record.database import open_reader
from aibridge.record.records import InterceptionRecord
from aibridge.record.store import Store
from aibridge.record.values import utc_now

from ..record.samples import interception
from .parts import CommandTestCase

UNTIL = datetime(2026, 1, 31, 15, tzinfo=UTC)


class MonthTests(SynchronousTestCase):
    """The records themselves."""

    def test_same_every_time(self) -> None:
        """The month is the same every time, no record is of the future, and no id is there twice."""
        sessions = [*make_month(UNTIL)]
        self.assertEqual(sessions, [*make_month(UNTIL)])
        records = [record for records in sessions for record in records]
        rows = [record for record in records if not record.storage.updates]
        self.assertEqual(len({record.id for record in rows}), len(rows))
        begun = [record for record in records if isinstance(record, InterceptionRecord)]
        self.assertTrue(all(record.started_at < UNTIL for record in begun))
        self.assertGreater(len(begun), 1000)


class FillTests(CommandTestCase):
    """``aibridge demo fill``"""

    def test_fill(self) -> None:
        """The database has a month for the console; a second time that must be meant."""
        url = f"sqlite:///{self.home}/x.sqlite"
        status, out, err = self.run_command("demo", "fill", "--database", url)
        self.assertEqual(status, 0, err)
        self.assertRegex(out, r"^\d{4} interceptions of \d+ sessions")
        with open_reader(url).connect() as connection:
            found = overview(connection, Filter(), utc_now())
            views = ("usage_daily", "sessions", "interceptions")
            counts = [connection.exec_driver_sql(f"SELECT count(*) FROM aibridge_v_{view}").scalar() for view in views]
            cost = connection.exec_driver_sql("SELECT sum(cost_usd) FROM aibridge_v_usage_daily").scalar() or 0
            same = connection.exec_driver_sql("SELECT sum(cost_usd) FROM aibridge_v_interceptions").scalar()
        self.assertEqual(out.split()[0], str(counts[2]))
        self.assertGreater(found.last_30_days.requests, 1000)
        self.assertAlmostEqual(cost, same or 0, 3)
        self.assertTrue(all(counts))
        standings = BudgetStore(url, BudgetSettings()).standings()
        self.assertEqual({each.cap.name for each in standings}, {"alice", "core", "apps"})
        status, _, err = self.run_command("demo", "fill", "--database", url)
        self.assertEqual((status, "--force" in err), (1, True))

    def test_tried_before(self) -> None:
        """The demo's own database is filled after requests, too, but not a second time."""
        url = f"sqlite:///{self.home}/x.sqlite"
        self.patch(demo, "DEMO_DATABASE", url)
        with closing(Store(url)) as store:
            store.open()
            store.commit([store.encoder(None)(interception(initiator_id="anonymous"))])
        self.assertEqual(self.run_command("demo", "fill")[0], 0)
        status, _, err = self.run_command("demo", "fill")
        self.assertEqual((status, "--force" in err), (1, True))


class BoardTests(CommandTestCase):
    """``aibridge grafana``"""

    def test_write(self) -> None:
        """The files are written below the folder, again over those of an earlier run."""
        for _ in range(2):
            status, out, err = self.run_command("grafana", "--out", str(self.home / "boards"))
            self.assertEqual((status, len(out.splitlines())), (0, 6), err)
        self.assertTrue((self.home / "boards/prometheus/aibridge.rules.yml").exists())


class SearchTests(CommandTestCase):
    """``aibridge db search`` and ``aibridge db rollup``"""

    def test_search(self) -> None:
        """The search is enabled and disabled; roll-ups are made by hand."""
        url = f"sqlite:///{self.home}/x.sqlite"
        self.assertEqual(self.run_command("db", "upgrade", "--database", url)[0], 0)
        for word in ("enable", "disable"):
            self.assertEqual(self.run_command("db", "search", word, "--database", url)[1], f"search is {word}d\n")
        status, out, _ = self.run_command("db", "rollup", "--rebuild", "--database", url)
        self.assertEqual((status, out), (0, "0 hours and 0 sessions are rolled up\n"))
