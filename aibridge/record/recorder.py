"""The recorder that keeps records in a database."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, TypeVarTuple, cast

from attrs import frozen
from sqlalchemy import Engine, select
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from ..errors import RecordingError
from ..interfaces import Actor, IAnswerIndex, IBatchRecorder, IBudgets, IObjectIndex, IOnDemandRecorder, IRecorder
from .budgets.caps import Standing
from .budgets.estimates import Estimate
from .budgets.gate import BudgetEvents, BudgetGate
from .budgets.settings import BudgetSettings
from .budgets.standings import find_standing
from .database import open_reader, plain_errors
from .failover import DatabaseState, OnCommit
from .leases import OpenInterceptions
from .owners import find_owner
from .process import Process
from .queue import IThreadedReactor
from .records import InterceptionRecord, OpenAnswer, Owner, Record, StoredObjectRecord
from .schema import interceptions, token_usages
from .settings import DatabaseSettings
from .upgrade import Upgrade, upgrade

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_DEFAULTS = DatabaseSettings(url="sqlite://")


@frozen(kw_only=True)
class RecorderState:
    """The state of a recorder, for operators."""

    database: str
    """``starting``, ``up``, ``away``, or ``catching up`` with what was spooled meanwhile; empty if it isn't running."""
    reason: str
    """The reason why the database is away."""
    queued_rows: int
    spooled_rows: int
    spooled_bytes: int
    refuses: str
    """The reason why no interception can begin at the moment; empty if interceptions can begin."""
    reached: bool
    """True if the database was reached, now or at an earlier start with the same folder of spools."""


@implementer(IRecorder, IBatchRecorder, IAnswerIndex, IBudgets, IObjectIndex, IOnDemandRecorder)
class SQLRecorder(Service):
    """Records to any database that SQLAlchemy and the migrations know: SQLite, PostgreSQL.

    ``startService`` brings the database to the present schema. Its Deferred fails with `RecordingError` if that
    can't be done, so that nothing is served that can't be recorded; records that come meanwhile wait for it. A host
    program may leave it out: then the first record starts the recorder, and the bridge that used it ends it. A program
    that ends without ``stopService`` loses no record whose Deferred has fired.

    With a ``spool_dir`` rows go there while the database is away, or takes longer than ``commit_timeout`` seconds,
    and move over when it is back; then the start needs no database, but a server that refuses the user, the password
    or the database's name ends it, unless ``wait``. Past ``spool_max_bytes`` no interception
    can begin. Without a spool, a database that is away fails the records. Several recorders may share the folder.

    Records older than ``retention_days`` are deleted while the recorder runs, an hour late at most; 0 keeps them
    for ever.

    While ``max_queued_rows`` rows or ``max_queued_bytes`` bytes are queued, no interception can begin either: a
    database that can't keep up turns requests away instead of filling memory. Records of interceptions that have
    begun are taken nevertheless. ``observe`` is called with the seconds and the rows of each commit. ``upgrade`` is
    called with the URL at the start, on a thread, to bring the database to the present schema.

    ``budgets`` are the rules for caps on money, which are in the database, too; ``budget_events`` is told what happens
    to them.
    """

    name = "recorder"

    def __init__(
        self,
        url: str,
        *,
        reactor: IThreadedReactor | None = None,
        spool_dir: str | None = None,
        spool_max_bytes: int = _DEFAULTS.spool_max_bytes,
        commit_timeout: float = _DEFAULTS.commit_timeout,
        retention_days: int = _DEFAULTS.retention_days,
        wait: bool = _DEFAULTS.wait,
        max_queued_rows: int = 10_000,
        max_queued_bytes: int = 64 * 2**20,
        observe: OnCommit = lambda seconds, rows: None,
        budgets: BudgetSettings | None = None,
        budget_events: BudgetEvents | None = None,
        upgrade: Upgrade = upgrade,
    ) -> None:
        settings = DatabaseSettings(
            url=url,
            spool_dir=spool_dir,
            spool_max_bytes=spool_max_bytes,
            commit_timeout=commit_timeout,
            retention_days=retention_days,
            wait=wait,
        )
        self._url = url
        self._reactor = reactor
        self._max_queued_rows = max_queued_rows
        self._max_queued_bytes = max_queued_bytes
        self._budget_settings = budgets or BudgetSettings()
        self.is_active = False
        """See `IBudgets`."""
        self._open_interceptions = OpenInterceptions()
        self._new_process = partial(
            Process,
            settings,
            on_commit=observe,
            open_interceptions=self._open_interceptions,
            budgets=self._budget_settings,
            budget_events=budget_events or BudgetEvents(),
            upgrade=upgrade,
        )
        self._process: Process | None = None
        """The present run, or the last one, which refuses records: those that come too late must start nothing."""
        self._is_on_demand = False
        """True while the recorder runs because a record came, and not because the host started it."""
        self._is_stopped = False
        self._reader: Engine | None = None

    # The service

    def startService(self) -> "Deferred[None]":
        """Fires when records can be kept. Nothing is opened before.

        Fails with `RecordingError` if the database can't be used.
        """
        self._is_on_demand = False
        if self.running and self._process is not None:
            return Deferred.fromCoroutine(self._process.start())
        return self._start()

    def stopService(self) -> "Deferred[None]":
        """Fires when all that was queued is durable and everything is closed. Later records are refused."""
        self._is_stopped = True
        return self._stop(self._process)

    def release(self) -> "Deferred[None]":
        """See `IOnDemandRecorder`."""
        if not self._is_on_demand:
            return succeed(None)
        process, self._process = self._process, None
        return self._stop(process)

    def _start(self) -> "Deferred[None]":
        super().startService()  # type: ignore[no-untyped-call]
        self._process = None
        self._is_stopped = False
        return Deferred.fromCoroutine(self._start_process())

    async def _start_process(self) -> None:
        process = None
        try:
            process = self._process = self._new_process(self._reactor or _default_reactor())
            process.gate.accounts.on_load = self._set_active
            await process.start()
        except RecordingError:
            if self._process is process and not self._is_stopped:
                self._process = None
                super().stopService()  # type: ignore[no-untyped-call]
            raise

    def _stop(self, process: Process | None) -> "Deferred[None]":
        super().stopService()  # type: ignore[no-untyped-call]
        self._is_on_demand = False
        if self._reader is not None:
            self._reader.dispose()
            self._reader = None
        return succeed(None) if process is None else Deferred.fromCoroutine(process.stop())

    # Records

    def record_all(self, records: Sequence[Record]) -> "Deferred[None]":
        """See `IBatchRecorder`. Records of one turn of the reactor share a transaction."""
        if self._process is None:
            if self._is_stopped:
                return fail(RecordingError("the recorder has stopped"))
            started = self._start()
            if self._process is None:
                return started
            self._is_on_demand = True
            started.addErrback(lambda failure: None)  # the record's own Deferred fails too
        for record in records:
            if type(record) is InterceptionRecord and record.id not in self._open_interceptions:
                reason = self._refusal(self._process)
                if reason:
                    return fail(RecordingError(reason))
                self._open_interceptions[record.id] = record.started_at
        return self._process.write(records)

    def _record(self, record: Record) -> "Deferred[None]":
        """See `IRecorder`."""
        return self.record_all((record,))

    record_interception = record_interception_ended = record_token_usage = _record
    record_prompt_usage = record_tool_usage = record_model_thought = _record

    def _refusal(self, process: Process) -> str:
        """The reason why no interception can begin; empty if interceptions can begin."""
        failover, queue = process.failover, process.failover.queue
        if failover.state is not DatabaseState.UP and failover.is_full:
            return f"the database is away, and the spool has {failover.used_bytes} bytes already"
        if queue.queued_rows >= self._max_queued_rows or queue.queued_bytes >= self._max_queued_bytes:
            return f"{queue.queued_rows} rows ({queue.queued_bytes} bytes) are waiting to be written already"
        return ""

    # Budgets

    @property
    def gate(self) -> BudgetGate | None:
        """The figures of caps on money, as this process knows them; None while the recorder has not been started."""
        return self._process.gate if self._process is not None else None

    def _set_active(self, caps: int) -> None:
        self.is_active = caps > 0

    def begin(self, record: InterceptionRecord, estimate: Estimate | None) -> "Deferred[int | None]":
        """See `IBudgets`."""
        if estimate is not None and self._process is not None:
            self._process.gate.accounts.estimates.add(record.id, estimate)
        recorded: Deferred[Any] = self.record_all((record,))  # it fires with what the entry says is left
        return recorded

    def standing(self, actor: Actor) -> "Deferred[Standing]":
        """See `IBudgets`. Read from the database, which knows what all gateways spend."""
        return self._look_up(find_standing, self._budget_settings, actor)

    def find_open_answer(self, provider_response_id: str) -> "Deferred[OpenAnswer | None]":
        """See `IAnswerIndex`."""
        return self._look_up(_find_open_answer, provider_response_id)

    def find_owner(self, provider_name: str, object_id: str) -> "Deferred[Owner | None]":
        """See `IObjectIndex`."""
        return self._look_up(find_owner, provider_name, object_id)

    def record_object(self, record: StoredObjectRecord) -> "Deferred[None]":
        """See `IObjectIndex`."""
        return self.record_all((record,))

    def _look_up(self, query: Callable[[Engine, str, *Arguments], T], *arguments: *Arguments) -> "Deferred[T]":
        """Read from the database on a thread. The Deferred fails with RecordingError if it can't be read."""
        try:
            with plain_errors(self._url):
                self._reader = self._reader or open_reader(self._url)
        except RecordingError:
            return fail()
        reactor = self._reactor or _default_reactor()
        return deferToThreadPool(reactor, reactor.getThreadPool(), query, self._reader, self._url, *arguments)

    # What operators see

    def state(self) -> RecorderState:
        """Return the state of the recorder now."""
        if self._process is None or not self.running:
            return RecorderState(
                database="",
                reason="",
                queued_rows=0,
                spooled_rows=0,
                spooled_bytes=0,
                refuses="it is not running",
                reached=False,
            )
        process, failover = self._process, self._process.failover
        lost = "the database's file was removed or replaced: restart the gateway" if process.is_lost else ""
        return RecorderState(
            database=failover.state.value,
            reason=failover.reason if failover.state is DatabaseState.AWAY else "",
            queued_rows=failover.queue.queued_rows,
            spooled_rows=failover.spooled_rows,
            spooled_bytes=failover.used_bytes if failover.spooled_rows else 0,
            refuses=self._refusal(process) or failover.spool_failure or lost,
            reached=process.has_reached_database,
        )

    @property
    def queued_rows(self) -> int:
        """The number of rows that are not durable yet."""
        return self._process.failover.queue.queued_rows if self._process else 0

    @property
    def spooled_rows(self) -> int:
        """The number of rows that wait on local disk for the database."""
        return self._process.failover.spooled_rows if self._process else 0


def _find_open_answer(reader: Engine, url: str, provider_response_id: str) -> OpenAnswer | None:
    """Look in the database, on a thread. RecordingError if it can't be read."""
    tokens = token_usages.c
    query = (
        select(tokens.interception_id, tokens.id, interceptions.c.started_at, tokens.metadata)
        .join(interceptions, interceptions.c.id == tokens.interception_id)
        .where(tokens.provider_response_id == provider_response_id)
    )
    with plain_errors(url), reader.connect() as connection:
        for *found, metadata in connection.execute(query.order_by(tokens.created_at)):
            if metadata.get("complete") is False and "iteration" not in metadata:
                return OpenAnswer(*found)
    return None


def _default_reactor() -> IThreadedReactor:
    # Imported late: the import installs a reactor, and which one is the host's choice.
    from twisted.internet import reactor

    return cast(IThreadedReactor, reactor)
