"""Records are kept for so many days, while the recorder goes on."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from aibridge.record import retention
from aibridge.record import retention as purge
from aibridge.record.database import DatabaseAway
from aibridge.record.failover import DatabaseState
from aibridge.record.retention import EVERY, FIRST_AFTER, Retention
from aibridge.record.schema import interceptions
from aibridge.record.store import Store
from aibridge.record.values import utc_now
from aibridge.recorder import SQLRecorder

from .contract import record
from .databases import OnSQLite, rows
from .samples import ended, interception


class StandIn:
    """A failover store without a thread, as far as retention needs it."""

    def __init__(self) -> None:
        self.state = DatabaseState.UP
        self.away = False
        self.calls = 0

    def run(self, call: Callable[[], Any]) -> "Deferred[Any]":
        self.calls += 1
        return maybeDeferred(self._do, call)

    def _do(self, call: Callable[[], Any]) -> Any:
        if self.away:
            raise DatabaseAway("gone fishing")
        return call()


class RetentionTests(OnSQLite):
    """Thirty days, on a clock of the test's own."""

    def setUp(self) -> None:
        super().setUp()
        self.store = Store(self.url)
        self.addCleanup(self.store.close)
        self.store.open()
        self.clock, self.failover = Clock(), StandIn()
        self.retention = Retention(self.clock, self.failover, self.store, 30)  # type: ignore[arg-type]
        self.retention.start()
        self.addCleanup(self.retention.stop)

    def began(self, *days_ago: int) -> None:
        encoder = self.store.encoder(None)
        for days in days_ago:
            begun = interception(started_at=utc_now() - timedelta(days=days))
            self.store.commit([encoder(begun), encoder(ended(begun.id))])

    def pass_(self, seconds: float) -> None:
        """Let that time pass, and what is due then happen."""
        self.clock.advance(seconds)
        for _ in range(100):
            self.clock.advance(0.5)

    def left(self) -> list[int]:
        """Return how many days ago the remaining interceptions began."""
        now = utc_now()
        return sorted((now - row["started_at"]).days for row in rows(self.url, interceptions))

    def test_first(self) -> None:
        """Records that are too old are deleted a while after the start, not before; the others stay."""
        self.began(29, 31, 400)
        self.clock.advance(FIRST_AFTER - 1)
        self.assertEqual(self.left(), [29, 31, 400])
        self.pass_(1)
        self.assertEqual(self.left(), [29])

    def test_again(self) -> None:
        """Records that become too old are deleted within the hour."""
        self.pass_(FIRST_AFTER)
        self.began(31)
        self.pass_(EVERY)
        self.assertEqual(self.left(), [])

    def test_rests(self) -> None:
        """After each step it leaves the database to the recorder for nine times as long as that took."""
        self.patch(purge, "STEP_ROWS", 1)
        self.patch(retention, "perf_counter", iter(range(100)).__next__)
        self.began(31, 32)
        self.clock.advance(FIRST_AFTER)
        self.assertEqual(self.left(), [31])
        self.clock.advance(8.9)
        self.assertEqual(self.left(), [31])
        self.clock.advance(0.1)
        self.assertEqual(self.left(), [])

    def test_away(self) -> None:
        """While the database is away nothing is deleted; an error is logged, and an hour later the purge goes on."""
        self.began(31)
        self.failover.state = DatabaseState.AWAY
        self.pass_(FIRST_AFTER)
        self.assertEqual(self.failover.calls, 0)
        self.failover.state, self.failover.away = DatabaseState.UP, True
        self.pass_(EVERY)
        self.assertEqual((self.failover.calls, self.left()), (1, [31]))
        self.failover.away = False
        self.pass_(EVERY)
        self.assertEqual(self.left(), [])

    def test_stopped(self) -> None:
        """Stopped between two steps, it leaves the rest for the next start."""
        self.patch(purge, "STEP_ROWS", 1)
        self.began(31, 32)
        self.clock.advance(FIRST_AFTER)
        self.retention.stop()
        self.assertEqual((self.clock.getDelayedCalls(), self.left()), ([], [31]))


class RecorderTests(OnSQLite):
    """In the recorder, with its thread."""

    timeout = 30

    async def test_recorder(self) -> None:
        """A recorder that is given a number of days deletes what is older, says so, and ends as usual."""
        recorder = SQLRecorder(self.url, retention_days=30)
        self.addCleanup(recorder.stopService)
        for moment in (utc_now() - timedelta(days=31), utc_now()):
            await self.keep(recorder, moment)
        await recorder.stopService()
        self.patch(retention, "FIRST_AFTER", 0.0)
        told = self.told("were too old")
        await recorder.startService()
        await told
        assert len(rows(self.url, interceptions)) == 1

    async def keep(self, recorder: SQLRecorder, moment: datetime) -> None:
        begun = interception(started_at=moment)
        await record(recorder, begun)
        await record(recorder, ended(begun.id))

    def told(self, words: str) -> "Deferred[None]":
        """Fires once the log has a line with these words."""
        from twisted.internet import reactor

        heard: Deferred[None] = Deferred()

        def observe(event: Any) -> None:
            if words in (event.get("log_format") or ""):
                reactor.callLater(0, heard.callback, None)  # type: ignore[attr-defined]

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return heard
