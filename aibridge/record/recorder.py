"""The recorder that keeps records in a database."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from sqlalchemy import select
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import RecordingError
from ..interfaces import IAnswerIndex, IBatchRecorder, IRecorder
from .batches import gather_writes
from .claims import Claim, make_claim
from .database import DatabaseAway, open_reader, plain_errors
from .failover import FailoverStore, Observer, Phase, SpoolRoom
from .leases import HEARTBEAT, OpenInterceptions, end, renew
from .ledger import utc_now
from .records import InterceptionRecord, OpenAnswer, Record
from .recovery import clear, recover
from .retention import Retention
from .schema import token_usages
from .store import Store
from .values import new_id

_log = Logger()


class Process:
    """Begins with `start`, ends with `stop`, and never begins again.

    Making one makes the claim, if there is a ``folder``, and opens nothing else. RecordingError where it can't.
    """

    def __init__(
        self,
        url: str,
        reactor: Any,
        folder: Path | None,
        *,
        spool_max_bytes: int,
        commit_timeout: float,
        retention_days: int,
        observe: Observer,
        begun: OpenInterceptions,
    ) -> None:
        self._id = new_id()
        self._started_at = utc_now()
        self._begun = begun
        self._folder = folder
        self._store = Store(url, lock_timeout=commit_timeout)
        self._encoder = self._store.encoder(self._id)
        self._claim = make_claim(folder, self._id) if folder else None
        self.keeper = FailoverStore(
            reactor,
            self._store,
            self._encoder,
            _room(self._claim, spool_max_bytes),
            opened=self._renew,
            came_up=self._look_after_the_dead,
            settled=begun.settled,
            commit_timeout=commit_timeout,
            observe=observe,
        )
        self._rounds = [LoopingCall(self._say_alive), LoopingCall(self._look_after_the_dead)]
        for round_ in self._rounds:
            round_.clock = reactor
        self._looking = False
        self._retention = Retention(reactor, self.keeper, self._store, retention_days) if retention_days else None
        self._stopped = False

    def write(self, records: Sequence[Record]) -> "Deferred[None]":
        """Fires when the records are durable; one that can't be so takes no other along."""
        if self._stopped:
            return self._refuse(records, RecordingError("the recorder has stopped"))
        try:
            return self.keeper.writer.write([self._encoder(record) for record in records])
        except RecordingError as error:
            if len(records) == 1:
                return self._refuse(records, error)
        return gather_writes([self.write((record,)) for record in records])

    def _refuse(self, records: Sequence[Record], error: RecordingError) -> "Deferred[None]":
        for record in records:
            self._begun.refused(record)
        return fail(error)

    async def start(self) -> None:
        """RecordingError where the database can't be used, now or later; then this has ended again."""
        try:
            await self.keeper.start()
        except RecordingError as error:
            self.keeper.writer.fail(error)
            await self.stop()
            raise
        if self._stopped:  # meanwhile
            return
        for round_ in self._rounds:
            round_.start(HEARTBEAT, now=False).addErrback(_log_failure)
        if self._retention is not None:
            self._retention.start()

    async def stop(self) -> None:
        """What is queued becomes durable. What is still spooled then, the next start finds."""
        self._stopped = True
        for round_ in self._rounds:
            if round_.running:
                round_.stop()
        if self._retention is not None:
            self._retention.stop()
        await self.keeper.stop(self._leave)

    async def _say_alive(self) -> None:
        if self.keeper.phase is Phase.UP:
            try:
                await self.keeper.in_time(self._renew)
            except DatabaseAway as error:
                self.keeper.lost(error)

    def _look_after_the_dead(self) -> None:
        """Unless that is being done already: a large spool takes its time."""
        if self.keeper.phase is Phase.UP and not self._looking:
            Deferred.fromCoroutine(self._look()).addErrback(_log_failure)

    async def _look(self) -> None:
        self._looking = True
        steps = recover(self._store, self._folder)
        try:
            while not self._stopped and await self.keeper.in_database(lambda: next(steps, None)) is not None:
                pass
        except RecordingError as error:
            _log.warn("what dead processes left has to wait: {reason}", reason=str(error))
        finally:
            self._looking = False

    # On the database's thread

    def _renew(self) -> None:
        with self._store.transaction() as connection:
            renew(connection, self._id, self._started_at, self._begun.oldest_at)

    def _leave(self, is_up: bool) -> None:
        is_clean = is_up and self._ended()
        if self._claim is None:
            return
        if is_clean:
            clear(self._claim.spool())
            self._claim.discard()
        else:
            self._claim.release()

    def _ended(self) -> bool:
        try:
            with self._store.transaction() as connection:
                end(connection, self._id)
        except DatabaseAway as error:
            _log.warn("the database does not know that this process has ended: {reason}", reason=str(error))
            return False
        return True


def _room(claim: Claim | None, max_bytes: int) -> SpoolRoom | None:
    return SpoolRoom(claim.spool(), claim.spool(), max_bytes) if claim else None


def _log_failure(failure: Failure) -> None:
    _log.failure("a process looks after itself and others no longer", failure)


def find_open_answer(url: str, provider_response_id: str) -> OpenAnswer | None:
    """Blocks. RecordingError where the database can't be reached."""
    wanted = select(token_usages.c.interception_id, token_usages.c.id, token_usages.c.metadata).where(
        token_usages.c.provider_response_id == provider_response_id
    )
    with plain_errors(url), open_reader(url).connect() as connection:
        for interception_id, usage_id, metadata in connection.execute(wanted.order_by(token_usages.c.created_at)):
            if metadata.get("complete") is False:
                return OpenAnswer(interception_id, usage_id)
    return None


MAX_SPOOL_BYTES = 2**30


@frozen(kw_only=True)
class RecorderState:
    """How a recorder keeps up."""

    database: str
    """``starting``, ``up``, ``away``, or ``catching up`` with what was spooled meanwhile."""
    reason: str
    """Why it is away."""
    queued_rows: int
    spooled_rows: int
    spooled_bytes: int
    refuses: str
    """Why no interception can begin at the moment; empty if one can."""


@implementer(IRecorder, IBatchRecorder, IAnswerIndex)
class SQLRecorder(Service):
    """Records to any database that SQLAlchemy and the migrations know: SQLite, PostgreSQL.

    ``startService`` brings the database to the present schema. Its Deferred fails with `RecordingError` where that
    can't be done, so that nothing is served that can't be recorded; records that come meanwhile wait for it. A host
    program may leave it out: then the first record does it. What a host does not end by ``stopService`` loses no
    record whose Deferred has fired.

    With a ``spool_dir`` rows go there while the database is away, or takes longer than ``commit_timeout`` seconds,
    and move over when it is back; then the start needs no database. Past ``spool_max_bytes`` no interception
    can begin. Without one, a database that is away fails the records. Several recorders may share the folder.

    What is older than ``retention_days`` is deleted while it runs, an hour late at most; 0 keeps it for ever.

    With so many rows or bytes queued, ``max_queued_rows`` and ``max_queued_bytes``, no interception can
    begin either: a database that can't keep up turns requests away instead of filling memory. Records of those that
    have begun are taken nevertheless. ``observe`` is told the seconds and the rows of each commit.
    """

    name = "recorder"

    def __init__(
        self,
        url: str,
        *,
        reactor: Any = None,
        spool_dir: str | None = None,
        spool_max_bytes: int = MAX_SPOOL_BYTES,
        commit_timeout: float = 5.0,
        retention_days: int = 0,
        max_queued_rows: int = 10_000,
        max_queued_bytes: int = 64 * 2**20,
        observe: Observer = lambda seconds, rows: None,
    ) -> None:
        self._url = url
        self._reactor = reactor
        self._folder = Path(spool_dir) if spool_dir else None
        self._spool_max_bytes = spool_max_bytes
        self._commit_timeout = commit_timeout
        self._retention_days = retention_days
        self._max_queued_rows = max_queued_rows
        self._max_queued_bytes = max_queued_bytes
        self._observe = observe
        self._process: Process | None = None
        self._begun = OpenInterceptions()

    def state(self) -> RecorderState:
        """Whether and where it records now."""
        if self._process is None or not self.running:
            return RecorderState(
                database="", reason="", queued_rows=0, spooled_rows=0, spooled_bytes=0, refuses="it is not running"
            )
        keeper = self._process.keeper
        return RecorderState(
            database=keeper.phase.value,
            reason=keeper.reason if keeper.phase is Phase.AWAY else "",
            queued_rows=keeper.writer.queued_rows,
            spooled_rows=keeper.spooled_rows,
            spooled_bytes=keeper.used_bytes if keeper.spooled_rows else 0,
            refuses=self._refusal() or "",
        )

    @property
    def queued_rows(self) -> int:
        """How many rows are not durable yet."""
        return self._process.keeper.writer.queued_rows if self._process else 0

    @property
    def spooled_rows(self) -> int:
        """How many rows wait on local disk for the database."""
        return self._process.keeper.spooled_rows if self._process else 0

    def startService(self) -> "Deferred[None]":
        """Fires when records can be kept. Nothing is opened before."""
        if self.running:
            return succeed(None)
        super().startService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._start())

    def stopService(self) -> "Deferred[None]":
        """Fires when all that was queued is durable and everything is closed."""
        if not self.running or self._process is None:
            return succeed(None)
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._process.stop())

    def record_all(self, records: Sequence[Record]) -> "Deferred[None]":
        """See `IBatchRecorder`. Records of one turn of the reactor share a transaction."""
        for record in records:
            if type(record) is InterceptionRecord:
                why = self._refusal()
                if why is not None:
                    return fail(RecordingError(why))
                self._begun.add(record)
        # A process that has stopped stays, and refuses: what comes too late must not start everything again.
        if self._process is None:
            started = self.startService()
            if self._process is None:
                return started
            started.addErrback(lambda failure: None)  # the record's own Deferred tells it
        return self._process.write(records)

    def _record(self, record: Record) -> "Deferred[None]":
        """See `IRecorder`."""
        return self.record_all((record,))

    record_interception = record_interception_ended = record_token_usage = _record
    record_prompt_usage = record_tool_usage = record_model_thought = _record

    def find_open_answer(self, provider_response_id: str) -> "Deferred[OpenAnswer | None]":
        """See `IAnswerIndex`."""
        reactor = self._reactor or _default_reactor()
        return deferToThreadPool(reactor, reactor.getThreadPool(), find_open_answer, self._url, provider_response_id)

    async def _start(self) -> None:
        try:
            self._process = self._new_process()
            await self._process.start()
        except RecordingError:
            self._process = None
            super().stopService()  # type: ignore[no-untyped-call]
            raise

    def _new_process(self) -> Process:
        return Process(
            self._url,
            self._reactor or _default_reactor(),
            self._folder,
            spool_max_bytes=self._spool_max_bytes,
            commit_timeout=self._commit_timeout,
            retention_days=self._retention_days,
            observe=self._observe,
            begun=self._begun,
        )

    def _refusal(self) -> str | None:
        """Why no interception can begin."""
        if self._process is None:
            return None
        keeper = self._process.keeper
        if keeper.is_full:
            return f"the database is away, and the spool has {keeper.used_bytes} bytes already"
        writer = keeper.writer
        if writer.queued_rows >= self._max_queued_rows or writer.queued_bytes >= self._max_queued_bytes:
            return f"{writer.queued_rows} rows ({writer.queued_bytes} bytes) are waiting to be written already"
        return None


def _default_reactor() -> Any:
    """Late: importing it installs one, and which one is not ours to say."""
    from twisted.internet import reactor

    return reactor
