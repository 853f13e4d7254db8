"""The run of a recorder, from its start to its stop; each run has a row in `aibridge_processes`.

While it runs it renews its lease, recovers what dead processes have left, and deletes what is too old.
"""

from collections.abc import Sequence
from pathlib import Path

from twisted.internet.defer import Deferred, DeferredLock, fail
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import RecordingError
from .batches import gather_writes
from .budgets.gate import BudgetEvents, BudgetGate
from .budgets.settings import BudgetSettings
from .claims import make_claim
from .database import DatabaseAway
from .failover import DatabaseState, FailoverStore, OnCommit, ProcessSpool
from .leases import HEARTBEAT, OpenInterceptions, end_process, renew_lease
from .queue import IThreadedReactor
from .reached import ReachedMark
from .records import Record
from .recovery import recover, remove_empty_spool
from .retention import Retention
from .settings import DatabaseSettings
from .store import Store
from .upgrade import Upgrade, upgrade
from .values import new_id, utc_now

_log = Logger()


class Process:
    """A run of a recorder. After `stop` it can't be started again.

    Making it takes a claim in the folder of spools, if there is one, and opens nothing else. RecordingError if the
    claim can't be made or the URL can't be used.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        reactor: IThreadedReactor,
        *,
        on_commit: OnCommit,
        open_interceptions: OpenInterceptions,
        budgets: BudgetSettings,
        budget_events: BudgetEvents,
        upgrade: Upgrade = upgrade,
    ) -> None:
        self._id = new_id()
        self._started_at = utc_now()
        self._open_interceptions = open_interceptions
        self._folder = folder = Path(settings.spool_dir) if settings.spool_dir else None
        timeout = settings.commit_timeout
        self._store = Store(settings.url, lock_timeout=timeout, budgets=budgets, upgrade=upgrade)
        self.gate = BudgetGate(self._store.accounts, budget_events)
        self._encoder = self._store.encoder(self._id)
        self._claim = claim = make_claim(folder, self._id) if folder else None
        self.failover = FailoverStore(
            reactor,
            self._store,
            self._encoder,
            ProcessSpool(claim.spool(), claim.spool(), settings.spool_max_bytes) if claim else None,
            gate=self.gate,
            on_open=self._database_opened,
            on_up=self._start_recovery,
            on_settled=open_interceptions.settle,
            on_commit=on_commit,
            commit_timeout=settings.commit_timeout,
            waits=settings.wait,
        )
        self._reached = ReachedMark(folder, settings.url)
        self._heartbeats = [LoopingCall(self._heartbeat), LoopingCall(self._start_recovery)]
        for heartbeat in self._heartbeats:
            heartbeat.clock = reactor
        self._is_recovering = False
        self.is_lost = False
        """True if the file of the database was removed or replaced while the process runs."""
        days = settings.retention_days
        self._retention = Retention(reactor, self.failover, self._store, days) if days else None
        self._lock = DeferredLock()
        """Held by the start and by the stop, so that neither begins before the other has ended."""
        self._is_started = False
        self._is_stopping = False

    @property
    def has_reached_database(self) -> bool:
        """True if the database was reached, now or at an earlier start with the same folder of spools."""
        return self._reached.is_set

    def write(self, records: Sequence[Record]) -> "Deferred[None]":
        """Fires when the records are durable. A record that can't be stored fails the call, but no other record."""
        if self._is_stopping:
            return self._refuse(records, RecordingError("the recorder has stopped"))
        try:
            return self.failover.queue.write(list(map(self._encoder, records)))
        except RecordingError as error:
            if len(records) == 1:
                return self._refuse(records, error)
        return gather_writes([self.write((record,)) for record in records])

    def _refuse(self, records: Sequence[Record], error: RecordingError) -> "Deferred[None]":
        for record in records:
            self._open_interceptions.discard(record)
        return fail(error)

    async def start(self) -> None:
        """Open the database, and begin to look after this process and others; once, however often it is called.

        RecordingError if the database can't be used, now or later. Then everything is closed again.
        """
        async with self._lock:
            if self._is_started:
                return
            if self._is_stopping:
                raise RecordingError("the recorder has stopped")
            try:
                await self.failover.start()
            except RecordingError as error:
                self._is_stopping = True
                self.failover.queue.fail(error)
                await self._close()
                raise
            if not self.has_reached_database:
                _log.warn("The database has never been reached: check its URL. The gateway is not ready until it is.")
            self._is_started = True
            self.gate.settle()
            for heartbeat in self._heartbeats:
                heartbeat.start(HEARTBEAT, now=False).addErrback(_log_failure)
            if self._retention is not None:
                self._retention.start()

    async def stop(self) -> None:
        """Make durable what is queued, and end everything. Rows that are still spooled wait for the next start."""
        self._is_stopping = True
        async with self._lock:
            if self._is_started:
                self._is_started = False
                await self._close()

    async def _close(self) -> None:
        for heartbeat in self._heartbeats:
            if heartbeat.running:
                heartbeat.stop()
        if self._retention is not None:
            self._retention.stop()
        await self.failover.stop(self._leave_database)

    # Heartbeats

    async def _heartbeat(self) -> None:
        if self.failover.state is DatabaseState.UP:
            try:
                await self.failover.run_in_time(self._renew_lease)
            except DatabaseAway as error:
                self.failover.mark_away(error)

    def _start_recovery(self) -> None:
        """Recover dead processes, unless that is under way already: a large spool takes its time."""
        if self.failover.state is DatabaseState.UP and not self._is_recovering:
            Deferred.fromCoroutine(self._recover()).addErrback(_log_failure)

    async def _recover(self) -> None:
        self._is_recovering = True
        steps = recover(self._store, self._folder)
        try:
            while not self._is_stopping and await self.failover.run(lambda: next(steps, None)) is not None:
                pass
        except RecordingError as error:
            _log.warn("Rows of processes that have ended are recovered later: {reason}", reason=str(error))
        finally:
            self._is_recovering = False

    # On the database's thread

    def _database_opened(self) -> None:
        self._renew_lease()
        self._store.load_budgets()
        self._reached.set()

    def _renew_lease(self) -> None:
        if self._store.is_lost and not self.is_lost:
            self.is_lost = True
            _log.error(
                "The database's file was removed or replaced: what is recorded now is lost. Restart the gateway."
            )
        with self._store.transaction() as connection:
            renew_lease(connection, self._id, self._started_at, self._open_interceptions.oldest_at)

    def _leave_database(self, is_up: bool) -> None:
        """Say that this process has ended. If the database does not learn it, the claim stays for the next start."""
        has_left = False
        if is_up:
            try:
                with self._store.transaction() as connection:
                    end_process(connection, self._id, self._store.accounts)
                has_left = True
            except DatabaseAway as error:
                _log.warn("The database does not know that this process has ended: {reason}", reason=str(error))
        if self._claim is not None and has_left:
            remove_empty_spool(self._claim.spool())
            self._claim.discard()
        elif self._claim is not None:
            self._claim.release()


def _log_failure(failure: Failure) -> None:
    _log.failure("The recorder renews its lease and recovers other processes no longer.", failure)
