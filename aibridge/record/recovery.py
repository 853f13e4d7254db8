"""Recovery: bringing to an end what processes have left that ended without clearing up.

A dead process leaves a spool with rows, and interceptions that are in progress.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import UUID

from attrs import frozen
from sqlalchemy import Connection, select
from twisted.logger import Logger

from .claims import Claim, claim_dead_processes, is_alive, process_ids, take_claim
from .leases import end_process, expired_processes
from .schema import interceptions
from .spool import SUFFIX, Spool, move_batch
from .store import Store
from .values import bounded

_log = Logger()


def recover(store: Store, folder: Path | None) -> Iterator[int]:
    """Recover all dead processes, step by step; yields the number of spooled rows that each step moved."""
    interrupt_expired(store, folder)
    if folder is not None:
        for claim in claim_dead_processes(folder):
            yield from _recover_process(claim, store)


def flush_spools(store: Store, folder: Path) -> Iterator[int]:
    """Recover the dead processes that have a spool, and try again the rows that the database has refused before."""
    for process_id in process_ids(folder, SUFFIX):
        claim = take_claim(folder, process_id)
        if claim is not None:
            spool = claim.spool()
            spool.retry_refused()
            spool.close()
            yield from _recover_process(claim, store)


def erase_refused(store: Store, folder: Path, actor: str) -> int:
    """Remove an actor's rows that the database has refused, and return how many there were."""

    def is_due(fields: Mapping[str, object]) -> bool:
        if "initiator_id" in fields:
            return fields["initiator_id"] == actor
        id_ = fields.get("interception_id") or fields.get("id")
        query = select(interceptions.c.initiator_id).where(interceptions.c.id == UUID(str(id_)))
        return connection.scalar(query) == bounded(actor)

    erased = 0
    for process_id in process_ids(folder, SUFFIX):
        claim = take_claim(folder, process_id)
        if claim is not None:
            spool = claim.spool()
            with store.transaction() as connection:
                erased += spool.erase_refused(is_due)
            remove_empty_spool(spool)
            claim.discard()
    return erased


def interrupt_expired(store: Store, folder: Path | None) -> None:
    """Interrupt the interceptions of processes on other machines whose lease is over.

    Processes of this machine are left out: their claim says for certain whether they live.
    """
    with store.transaction() as connection:
        for process_id in expired_processes(connection):
            if folder is None or is_alive(folder, process_id) is None:
                _end_process(connection, process_id, store)


def _end_process(connection: Connection, process_id: UUID, store: Store) -> None:
    """Mark a dead process as ended, and its interceptions as interrupted. The log says how many there were."""
    if interrupted := end_process(connection, process_id, store.accounts):
        _log.warn(
            "{count} interceptions are marked as interrupted: process {id} has ended without finishing them.",
            count=interrupted,
            id=process_id,
        )


def _recover_process(claim: Claim, store: Store) -> Iterator[int]:
    """Move its rows, then interrupt its interceptions. If that is cut short, the next process goes on with it."""
    spool = claim.spool()
    try:
        while moved := move_batch(spool, store, store.encoder(claim.process_id)):
            yield moved
        with store.transaction() as connection:
            _end_process(connection, claim.process_id, store)
        remove_empty_spool(spool)
    except BaseException:
        spool.close()
        claim.release()
        raise
    claim.discard()


def remove_empty_spool(spool: Spool) -> None:
    """Remove a spool, unless it has rows: those that the database has refused stay for the operator."""
    if any(spool.count()):
        spool.close()
    else:
        spool.discard()


@frozen
class SpoolReport:
    """The contents of one process's spool."""

    process_id: UUID
    is_alive: bool
    rows: int
    refused: int
    """Rows that the database refuses as they are; the spool says why."""


def report_spools(folder: Path) -> Iterator[SpoolReport]:
    """Report on each spool in the folder."""
    for process_id in process_ids(folder, SUFFIX):
        spool = Spool(folder / f"{process_id}{SUFFIX}")
        rows, refused = spool.count()
        spool.close()
        yield SpoolReport(process_id, bool(is_alive(folder, process_id)), rows, refused)
