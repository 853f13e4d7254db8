"""What processes that ended without clearing up have left: a spool, and interceptions in progress."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from attrs import frozen

from .claims import Claim, claims_of_the_dead, ids_of, is_alive, take_claim
from .leases import end, silent
from .spool import SUFFIX, Spool, move
from .store import Store


def recover(store: Store, folder: Path | None) -> Iterator[int]:
    """Bring all that they left to its end, step by step; yields the rows that each step moved."""
    _interrupt_expired(store, folder)
    if folder is not None:
        for claim in claims_of_the_dead(folder):
            yield from _adopt(claim, store)


def flush(store: Store, folder: Path) -> Iterator[int]:
    """The same by hand, with another try for the rows that the database has refused before."""
    for process_id in ids_of(folder, SUFFIX):
        claim = take_claim(folder, process_id)
        if claim is not None:
            spool = claim.spool()
            spool.retry_refused()
            spool.close()
            yield from _adopt(claim, store)


@frozen
class SpoolReport:
    """What one process has in its spool."""

    process_id: UUID
    is_alive: bool
    rows: int
    refused: int
    """Rows that the database won't ever take as they are; the spool says why."""


def reports(folder: Path) -> Iterator[SpoolReport]:
    """On each spool in the folder."""
    for process_id in ids_of(folder, SUFFIX):
        spool = Spool(folder / f"{process_id}{SUFFIX}")
        rows, refused = spool.count()
        spool.close()
        yield SpoolReport(process_id, bool(is_alive(folder, process_id)), rows, refused)


def clear(spool: Spool) -> None:
    """Remove a spool, unless it has rows: those that the database has refused stay for the operator."""
    if any(spool.count()):
        spool.close()
    else:
        spool.discard()


def _adopt(claim: Claim, store: Store) -> Iterator[int]:
    """First its rows, then an end for what it had under way. Cut short, it is for the next one to go on with."""
    spool = claim.spool()
    try:
        while moved := move(spool, store, store.encoder(claim.process_id)):
            yield moved
        with store.transaction() as connection:
            end(connection, claim.process_id)
        clear(spool)
    except BaseException:
        spool.close()
        claim.release()
        raise
    claim.discard()


def _interrupt_expired(store: Store, folder: Path | None) -> None:
    """Those on other machines. Of a process of this machine the claim knows better than its lease."""
    with store.transaction() as connection:
        for process_id in silent(connection):
            if folder is None or is_alive(folder, process_id) is None:
                end(connection, process_id)
