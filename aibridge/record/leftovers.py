"""What processes that ended without clearing up have left: a spool, and interceptions in progress."""

from collections.abc import Iterator
from pathlib import Path

from .claims import Claim, claims_of_the_dead, is_alive
from .leases import end, silent
from .spool import Spool, move
from .store import Store


def look_after_the_dead(store: Store, folder: Path | None) -> Iterator[int]:
    """Bring all that they left to its end, step by step; yields the rows that each step moved."""
    _end_the_silent(store, folder)
    if folder is not None:
        for claim in claims_of_the_dead(folder):
            yield from _adopt(claim, store)


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


def _end_the_silent(store: Store, folder: Path | None) -> None:
    """Those on other machines. Of a process of this machine the claim knows better than its lease."""
    with store.transaction() as connection:
        for process_id in silent(connection):
            if folder is None or is_alive(folder, process_id) is None:
                end(connection, process_id)
