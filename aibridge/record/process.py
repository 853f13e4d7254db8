"""One start of a recorder: its claim and its lease on being alive, and its care for those that are dead."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import RecordingError
from .begun import Begun
from .claims import Claim, make_claim
from .database import DatabaseAway
from .handing import all_durable
from .ids import new_id
from .keeper import Keeper, Observer, Phase, SpoolRoom
from .leases import HEARTBEAT, end, renew
from .ledger import utc_now
from .leftovers import clear, look_after_the_dead
from .records import Record
from .retention import Retention
from .store import Store

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
        begun: Begun,
    ) -> None:
        self._id = new_id()
        self._started_at = utc_now()
        self._begun = begun
        self._folder = folder
        self._store = Store(url, lock_timeout=commit_timeout)
        self._encoder = self._store.encoder(self._id)
        self._claim = make_claim(folder, self._id) if folder else None
        self.keeper = Keeper(
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
        return all_durable([self.write((record,)) for record in records])

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
        steps = look_after_the_dead(self._store, self._folder)
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
