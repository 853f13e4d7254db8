"""Rows find their way while the database comes and goes: with a clock and no threads, on real files."""

import gc
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent, globalLogPublisher

from aibridge.errors import RecordingError
from aibridge.record import failover as module
from aibridge.record.budgets.gate import BudgetGate
from aibridge.record.claims import make_claim
from aibridge.record.database import DatabaseAway
from aibridge.record.failover import FIRST_PAUSE, LONGEST_PAUSE, DatabaseState, FailoverStore, ProcessSpool
from aibridge.record.records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    PromptUsageRecord,
    Record,
    TokenUsageRecord,
)
from aibridge.record.recovery import recover
from aibridge.record.spool import Spool, SpoolFailed
from aibridge.record.statements import Entry, Refusals
from aibridge.record.store import Store
from aibridge.record.values import new_id

from .databases import OnSQLite, stored
from .samples import ended, exchange, interception, prompt, token_usage

LATER = LONGEST_PAUSE + 1


class Killed(BaseException):
    """Raised where the process is killed."""


class Story:
    """Counts what would be done on the threads, and kills the process at the step that was asked for."""

    def __init__(self, last: int | None = None, after: bool = False) -> None:
        self.steps = 0
        self.last = last
        self.after = after

    def tell(self, call: Callable[[], Any]) -> Any:
        self.steps += 1
        if self.last is not None and self.steps > self.last:
            raise Killed
        if self.steps == self.last and not self.after:
            raise Killed
        result = call()
        if self.steps == self.last:
            raise Killed
        return result


class StandIn:
    """A worker without a thread: calls are made at once, or when it no longer hangs."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.hangs = False
        self.waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def run(self, call: Callable[[], Any]) -> "Deferred[Any]":
        if not self.hangs:
            return maybeDeferred(self.story.tell, call)
        done: Deferred[Any] = Deferred()
        self.waiting.append((call, done))
        return done

    def go_on(self) -> None:
        self.hangs = False
        waiting, self.waiting = self.waiting, []
        for call, done in waiting:
            maybeDeferred(self.story.tell, call).chainDeferred(done)

    def stop(self) -> "Deferred[bool]":
        return Deferred() if self.hangs else succeed(True)


class Database(Store):
    """A database that is away when the test says so."""

    away = False
    hopeless = False

    def __init__(self, url: str, story: Story) -> None:
        super().__init__(url)
        self.story = story

    def open(self) -> None:
        if self.hopeless:
            raise RecordingError("not a database")
        self._check()
        super().open()

    def commit(self, entries: Sequence[Entry], *, is_fresh: bool = True) -> Refusals:
        self._check()
        return self.story.tell(lambda: Store.commit(self, entries, is_fresh=is_fresh))  # type: ignore[no-any-return]

    def _check(self) -> None:
        if self.away:
            raise DatabaseAway("gone fishing")


class Gateway:
    """A failover store with all that belongs to it, as one process has it."""

    def __init__(self, url: str, folder: Path, story: Story | None = None, max_bytes: int = 2**30) -> None:
        self.clock = Clock()
        self.story = story or Story()
        self.workers: dict[str, StandIn] = {}
        self.store = Database(url, self.story)
        self.claim = make_claim(folder, new_id())
        self.encoder = self.store.encoder(self.claim.process_id)
        self.room = ProcessSpool(self.spool(), self.spool(), max_bytes)
        self.opened = 0
        self.commits: list[int] = []
        self.failover = FailoverStore(
            self.clock,
            self.store,
            self.encoder,
            self.room,
            gate=BudgetGate(self.store.accounts),
            on_open=self.open,
            on_up=lambda: None,
            on_settled=lambda entries, refused: None,
            commit_timeout=5.0,
            on_commit=lambda seconds, rows: self.commits.append(rows),
        )

    def spool(self) -> Spool:
        """Return a spool whose every transaction is a step of the story."""
        spool = self.claim.spool()
        for name in ("append", "remove"):
            method = getattr(spool, name)
            setattr(spool, name, lambda *args, method=method: self.story.tell(lambda: method(*args)))
        return spool

    @property
    def database(self) -> StandIn:
        return self.workers["aibridge-writer"]

    def open(self) -> None:
        self.opened += 1

    def start(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self.failover.start())

    def write(self, *values: Record) -> list["Deferred[None]"]:
        written = [self.failover.queue.write([self.encoder(value)]) for value in values]
        self.clock.advance(0)
        return written

    def die(self) -> None:
        """Close what the kernel would close."""
        self.room.appending.close()
        self.room.moving.close()
        self.store.close()
        self.claim.release()


class FailoverStoreTests(OnSQLite):
    """A failover store on a database that goes away at will."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.gateway = self.new_gateway()

    def new_gateway(self, **how: Any) -> Gateway:
        # The failover store makes its workers; here they have no threads.
        gateways: list[Gateway] = []
        stand_ins: dict[str, StandIn] = {}
        story = how.get("story") or Story()
        self.patch(module, "WorkerThread", lambda _, name: stand_ins.setdefault(name, StandIn(story)))
        gateway = Gateway(self.url, self.folder, **how | {"story": story})
        gateway.workers = stand_ins
        gateways.append(gateway)
        self.addCleanup(gateway.store.close)
        self.addCleanup(gateway.room.appending.close)
        self.addCleanup(gateway.room.moving.close)
        return gateway

    def started(self, **how: Any) -> Gateway:
        gateway = self.new_gateway(**how)
        self.successResultOf(gateway.start())
        return gateway

    def durable(self, written: list["Deferred[None]"]) -> None:
        for done in written:
            self.successResultOf(done)

    def test_up(self) -> None:
        """While the database is up rows go nowhere else, and the spool has no file."""
        gateway = self.started()
        self.durable(gateway.write(*exchange()))
        assert gateway.commits == [6]
        assert not gateway.room.appending.path.exists()

    def test_away_and_back(self) -> None:
        """While the database is away rows are durable in the spool; when it is back they move over, and none is left."""
        gateway = self.started()
        gateway.store.away = True
        values = exchange()
        self.durable(gateway.write(*values))
        assert (gateway.failover.state, gateway.failover.reason) == (DatabaseState.AWAY, "gone fishing")
        assert gateway.failover.spooled_rows == 6
        assert stored(self.url, InterceptionRecord) == []
        gateway.store.away = False
        gateway.clock.advance(LATER)
        assert gateway.failover.state is DatabaseState.UP
        assert gateway.failover.spooled_rows == 0
        for value in values:
            assert stored(self.url, type(value)) == [value]

    def test_pauses(self) -> None:
        """The database is tried again soon, then ever less often, but never given up."""
        gateway = self.started()
        gateway.store.away = True
        gateway.write(interception())
        tries: list[float] = []
        self.patch(gateway.store, "open", lambda: tries.append(gateway.clock.seconds()))
        self.patch(gateway.store, "transaction", None)
        gateway.failover._on_open = self.still_away
        for _ in range(2000):
            gateway.clock.advance(0.25)
        assert tries[0] == FIRST_PAUSE
        assert tries[-1] - tries[-2] == LONGEST_PAUSE
        assert 45 < len(tries) < 60

    def still_away(self) -> None:
        raise DatabaseAway("gone fishing")

    def test_hanging(self) -> None:
        """A commit that takes too long is spooled; that it succeeds after all changes nothing."""
        gateway = self.started()
        gateway.database.hangs = True
        begun = interception()
        early = token_usage(begun.id, output_tokens=1)
        waiting = gateway.write(begun, early)
        gateway.clock.advance(4.9)
        self.assertNoResult(waiting[0])
        gateway.clock.advance(0.5)
        self.durable(waiting)
        assert gateway.failover.reason == "no answer within 5 s"
        late = token_usage(begun.id, id=early.id, output_tokens=2)
        self.durable(gateway.write(late, ended(begun.id)))
        gateway.clock.advance(1)
        gateway.database.go_on()
        gateway.clock.advance(0)
        assert gateway.failover.state is DatabaseState.UP
        assert stored(self.url, TokenUsageRecord) == [late]
        assert len(stored(self.url, InterceptionRecordEnded)) == 1

    def test_new_rows_meanwhile(self) -> None:
        """Rows that come while the spool empties go there too; at its end they wait a moment and go to the database."""
        gateway = self.started()
        gateway.store.away = True
        begun = interception()
        versions = [token_usage(begun.id, id=begun.id, output_tokens=number) for number in range(4)]
        gateway.write(begun, versions[0])
        gateway.store.away = False
        gateway.database.hangs = True
        gateway.clock.advance(LATER)
        self.durable(gateway.write(versions[1]))
        assert gateway.failover.spooled_rows == 3
        self.next_call(gateway)  # a look at the spool's size
        self.next_call(gateway)  # the database opens; few rows are left, so new ones wait
        waiting = gateway.write(versions[2])
        self.next_call(gateway)
        waiting += gateway.write(versions[3])
        self.assertNoResult(waiting[0])
        self.next_call(gateway)  # the step that finds nothing more
        assert gateway.failover.state is DatabaseState.UP
        gateway.database.go_on()
        self.durable(waiting)
        assert stored(self.url, TokenUsageRecord) == [versions[3]]
        assert gateway.room.appending.count() == (0, 0)

    def next_call(self, gateway: Gateway) -> None:
        """Make the next hanging call; the calls that follow it hang."""
        call, done = gateway.database.waiting.pop(0)
        maybeDeferred(call).chainDeferred(done)
        gateway.clock.advance(0)

    def test_hanging_at_the_end(self) -> None:
        """Rows don't wait for long at the end of the spool either."""
        gateway = self.started()
        gateway.store.away = True
        gateway.write(interception())
        gateway.store.away = False
        gateway.database.hangs = True
        gateway.clock.advance(LATER)
        for _ in range(2):  # a look at the spool's size, the opening
            self.next_call(gateway)
        waiting = gateway.write(interception())
        gateway.clock.advance(5.1)
        self.durable(waiting)
        assert gateway.failover.state is DatabaseState.AWAY
        gateway.database.go_on()
        gateway.clock.advance(LATER)
        assert gateway.failover.state is DatabaseState.UP
        assert len(stored(self.url, InterceptionRecord)) == 2

    def test_away_again(self) -> None:
        """The database may go again while rows move: what has not moved stays, in its order."""
        gateway = self.started()
        gateway.store.away = True
        begun = interception()
        gateway.write(begun, *[prompt(begun.id) for _ in range(1200)])
        gateway.store.away = False
        gateway.database.hangs = True
        gateway.clock.advance(LATER)
        for _ in range(3):  # a look at the spool's size, the opening, the first step
            self.next_call(gateway)
        gateway.store.away = True
        gateway.database.go_on()
        assert (gateway.failover.state, gateway.failover.spooled_rows) == (DatabaseState.AWAY, 701)
        gateway.store.away = False
        gateway.clock.advance(LATER)
        assert gateway.failover.state is DatabaseState.UP
        assert len(stored(self.url, PromptUsageRecord)) == 1200

    def test_log(self) -> None:
        """The log has one line for each change, however much comes in between."""
        lines: list[str] = []
        observer = lambda event: lines.append(event["log_format"].format(**event))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        gateway = self.started()
        gateway.store.away = True
        for _ in range(3):
            gateway.write(interception())
            gateway.clock.advance(LATER)
        gateway.store.away = False
        gateway.clock.advance(LATER)
        assert lines == [
            "The database is away, records go to the spool: gone fishing",
            "The database is back, 3 spooled rows move over.",
            "All spooled rows are in the database.",
        ]

    def test_full(self) -> None:
        """A full spool leaves room for ends only, and at last for nothing; what is in it stays."""
        gateway = self.started(max_bytes=400_000)
        gateway.store.away = True
        begun = interception()
        self.durable(gateway.write(begun))
        while not gateway.failover.is_full:
            self.durable(gateway.write(prompt(begun.id, prompt="x" * 5000)))
        self.durable(gateway.write(ended(begun.id)))
        while gateway.failover.used_bytes < 400_000:
            self.durable(gateway.write(prompt(begun.id, prompt="x" * 5000)))
        (refused,) = gateway.write(prompt(begun.id))
        self.failureResultOf(refused, RecordingError)
        gateway.store.away = False
        gateway.clock.advance(LATER)
        assert not gateway.failover.is_full
        assert len(stored(self.url, InterceptionRecordEnded)) == 1
        gateway.store.away = True  # once more, with an empty spool
        self.durable(gateway.write(interception()))
        assert not gateway.failover.is_full

    def test_no_room_elsewhere(self) -> None:
        """Room that others in the folder give back is noticed."""
        gateway = self.started(max_bytes=400_000)
        other = self.folder / "other.spool"
        other.write_bytes(b"x" * 400_000)
        gateway.store.away = True
        gateway.write(interception())
        assert gateway.failover.is_full
        other.unlink()
        gateway.clock.advance(LATER)
        assert not gateway.failover.is_full

    def test_disk_fails(self) -> None:
        """If the disk fails too the record fails, and the store says so; the next one is tried again."""
        gateway = self.started()
        gateway.store.away = True
        self.patch(gateway.room.appending, "path", Path("/no/such/folder/x"))
        (failed,) = gateway.write(interception())
        self.failureResultOf(failed, SpoolFailed)
        self.assertIn("/no/such/folder/x", gateway.failover.spool_failure)
        gateway.room.appending.path = gateway.room.moving.path
        self.durable(gateway.write(interception()))
        self.assertEqual(gateway.failover.spool_failure, "")

    def test_disk_mends(self) -> None:
        """A disk that takes rows again is noticed without a row, and so is the database; the log tells each once."""
        with capturedLogs() as events:
            gateway = self.started()
            gateway.store.away = True
            self.patch(gateway.room.appending, "path", Path("/no/such/folder/x"))
            for _ in range(2):
                (failed,) = gateway.write(interception())
                self.failureResultOf(failed, SpoolFailed)
                gateway.clock.advance(LATER)
                self.assertIn("/no/such/folder/x", gateway.failover.spool_failure)
            gateway.room.appending.path = gateway.room.moving.path
            gateway.clock.advance(LATER)
            self.assertEqual(gateway.failover.spool_failure, "")
            self.assertEqual(gateway.room.moving.count(), (0, 0))
            gateway.room.appending.close()
            gateway.room.appending.path = Path("/no/such/folder/x")
            (failed,) = gateway.write(interception())
            self.failureResultOf(failed, SpoolFailed)
            gateway.store.away = False
            gateway.clock.advance(LATER)
        self.assertEqual(gateway.failover.spool_failure, "")
        told = [formatEvent(event) for event in events]
        self.assertEqual(sum("can't be written either" in line for line in told), 2)
        self.assertEqual(told.count("The spool can be written again."), 1)

    def test_start_away(self) -> None:
        """The start needs no database: rows go to the spool until it comes."""
        gateway = self.new_gateway()
        gateway.store.away = True
        self.successResultOf(gateway.start())
        self.durable(gateway.write(*exchange()))
        gateway.store.away = False
        gateway.clock.advance(LATER)
        assert len(stored(self.url, InterceptionRecordEnded)) == 1

    def test_start_hopeless(self) -> None:
        """The start fails if waiting would not help."""
        gateway = self.new_gateway()
        gateway.store.hopeless = True
        self.failureResultOf(gateway.start(), RecordingError)

    def test_start_slow(self) -> None:
        """A database that takes its time, to migrate for instance, doesn't hold up the start."""
        gateway = self.new_gateway()
        gateway.database.hangs = True
        starting = gateway.start()
        waiting = gateway.write(interception())
        self.assertNoResult(waiting[0])
        gateway.clock.advance(5.1)
        self.successResultOf(starting)
        self.durable(waiting)
        gateway.database.go_on()
        gateway.clock.advance(LATER)
        assert gateway.failover.state is DatabaseState.UP

    def stop(self, gateway: Gateway) -> tuple["Deferred[None]", list[bool]]:
        """Return the Deferred of the stop, and how it left the database, once it did."""
        left: list[bool] = []
        stopped = Deferred.fromCoroutine(gateway.failover.stop(left.append))
        gateway.clock.advance(0)
        return stopped, left

    def test_stop(self) -> None:
        """At the end what is queued is durable, and the database is left with all in it."""
        gateway = self.started()
        waiting = [gateway.failover.queue.write([gateway.encoder(value)]) for value in exchange()]
        stopped, left = self.stop(gateway)
        self.successResultOf(stopped)
        self.durable(waiting)
        assert left == [True]

    def test_stop_away(self) -> None:
        """Stopped while the database is away, it leaves its rows to the next start."""
        gateway = self.started()
        gateway.store.away = True
        self.durable(gateway.write(*exchange()))
        waiting = [gateway.failover.queue.write([gateway.encoder(interception())])]
        stopped, left = self.stop(gateway)
        self.durable(waiting)
        self.successResultOf(stopped)
        assert left == [False]
        assert not gateway.clock.getDelayedCalls()
        gateway.claim.release()
        assert sum(recover(Store(self.url), self.folder)) == 7
        assert len(stored(self.url, InterceptionRecord)) == 2

    def test_stop_hanging(self) -> None:
        """A database that hangs doesn't hold up the end; the claim is given back only when it hangs no more."""
        gateway = self.started()
        gateway.database.hangs = True
        waiting = gateway.write(interception())
        stopped, left = self.stop(gateway)
        gateway.clock.advance(5.1)
        self.durable(waiting)
        self.assertNoResult(stopped)
        gateway.clock.advance(5.1)
        self.successResultOf(stopped)
        assert left == []
        gateway.database.go_on()
        assert left == [False]

    def test_stop_at_the_last_step(self) -> None:
        """Stopped just as the last rows were to move, it holds up nothing that is still to be recorded."""
        gateway = self.started()
        gateway.store.away = True
        self.durable(gateway.write(interception()))
        gateway.store.away = False
        disk = gateway.workers["aibridge-spool"]
        disk.hangs = True
        waiting = gateway.write(interception())
        gateway.clock.advance(LATER)
        waiting += [gateway.failover.queue.write([gateway.encoder(interception())])]
        stopped = Deferred.fromCoroutine(gateway.failover.stop(lambda _: None))
        disk.go_on()
        gateway.clock.advance(0)
        self.durable(waiting)
        self.successResultOf(stopped)
        gateway.claim.release()
        assert sum(recover(Store(self.url), self.folder)) == 3

    def test_unforeseen(self) -> None:
        """An unexpected error on the way back goes to the log, and the way is tried again."""
        gateway = self.started()
        gateway.store.away = True
        gateway.write(interception())
        gateway.store.away = False
        patch = self.patch(gateway.failover, "_on_open", lambda: 1 / 0)
        gateway.clock.advance(LATER)
        assert gateway.failover.reason == "ZeroDivisionError"
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        patch.restore()
        gateway.clock.advance(LATER)
        assert gateway.failover.state is DatabaseState.UP

    def test_killed_anywhere(self) -> None:
        """Killed before or after any step of an outage, with rows coming all the while, it loses and doubles nothing."""
        Store(self.url).open()
        empty, whole = Path(self.path), Story()
        self.new_database(empty)
        self.live_through(whole)
        assert whole.steps > 30
        for last in range(1, whole.steps + 1):
            for after in (False, True):
                self.new_database(empty)
                self.folder = Path(self.mktemp())
                promised = self.live_through(Story(last, after))
                heir = Store(self.url)
                heir.open()
                for _ in recover(heir, self.folder):
                    pass
                heir.close()
                self.check(promised)
                assert list(self.folder.iterdir()) == []
        gc.collect()  # what was left half done says so when it goes
        self.flushLoggedErrors(Killed)

    def new_database(self, empty: Path) -> None:
        path = self.mktemp()
        shutil.copy(empty, path)
        self.url = f"sqlite:///{path}"

    def live_through(self, story: Story) -> list[Record]:
        """An exchange around an outage; the records that were said to be durable, in their order."""
        gateway = self.new_gateway(story=story)
        begun = interception()
        promised: list[Record] = []
        tokens = (token_usage(begun.id, id=begun.id, output_tokens=number) for number in range(100))

        def write(*values: Record) -> None:
            for value, done in zip(values, gateway.write(*values), strict=True):
                done.addCallbacks(lambda _, value=value: promised.append(value), lambda failure: None)

        gateway.start().addErrback(lambda failure: None)
        write(begun, next(tokens))
        gateway.store.away = True
        write(next(tokens))
        write(next(tokens), interception())
        gateway.clock.advance(FIRST_PAUSE)
        gateway.store.away = False
        write(next(tokens))
        gateway.clock.advance(LATER)
        write(next(tokens), ended(begun.id))
        gateway.store.away = True
        write(next(tokens))
        gateway.store.away = False
        gateway.clock.advance(LATER)
        write(next(tokens))
        self.flushLoggedErrors()
        gateway.die()
        return promised

    def check(self, promised: list[Record]) -> None:
        """Check that everything promised is there once, in its latest version or a later one."""
        for kind in (InterceptionRecord, InterceptionRecordEnded, TokenUsageRecord):
            latest = {record.id: record for record in promised if type(record) is kind}
            there = {record.id: record for record in stored(self.url, kind)}
            assert len(there) == len(stored(self.url, kind))
            for record_id, record in latest.items():
                if isinstance(record, TokenUsageRecord):
                    assert there[record_id].output_tokens >= record.output_tokens  # type: ignore[union-attr]
                else:
                    assert there[record_id] == record
