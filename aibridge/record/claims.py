"""Claims: locked files by which the processes of one machine know which of them are alive.

A claim is a file ``ID.lock`` in the spool's folder, locked for as long as its process lives: the kernel gives
the lock back when the process ends, however it ends. A process that gets the lock of another's claim knows that
the other is dead, and is the only one to know: it now looks after what the dead process left.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from attrs import frozen

from ..errors import RecordingError
from .spool import SUFFIX, Spool

_LOCK = ".lock"
_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@frozen(eq=False)
class Claim:
    """A claim that this process holds: its own, or that of a dead process."""

    process_id: UUID
    folder: Path
    _fd: int

    def spool(self) -> Spool:
        """Return a new connection to the process's spool."""
        return Spool(self.folder / f"{self.process_id}{SUFFIX}")

    def release(self) -> None:
        """Leave the claim, and what belongs to it, to the next process that looks."""
        os.close(self._fd)

    def discard(self) -> None:
        """Remove the claim: nothing is left to look after."""
        _lock_path(self.folder, self.process_id).unlink(missing_ok=True)
        os.close(self._fd)


def make_claim(folder: Path, process_id: UUID) -> Claim:
    """Claim that the process is alive. RecordingError if the folder, or a file in it, can't be made.

    The folder is made if it is missing; only its owner may look into it.
    """
    path = _lock_path(folder, process_id)
    try:
        _make_folder(folder)
        new = path.with_suffix(".new")
        fd = os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        new.rename(path)  # others see the file only now, and never unlocked
    except OSError as error:
        raise RecordingError(f"spool folder {folder}: {error.strerror}") from error
    return Claim(process_id, folder, fd)


def claim_dead_processes(folder: Path) -> Iterator[Claim]:
    """Take the claims of all processes that ended without clearing up; each goes to one caller only."""
    for process_id in process_ids(folder, _LOCK):
        claim = _take_existing(folder, process_id)
        if claim is not None:
            yield claim


def take_claim(folder: Path, process_id: UUID) -> Claim | None:
    """Return the claim of a dead process, or a new one if it left nothing but its spool; None if it lives."""
    if is_alive(folder, process_id) is None:
        return make_claim(folder, process_id)
    return _take_existing(folder, process_id)


def is_alive(folder: Path, process_id: UUID) -> bool | None:
    """True if the process lives; None if it has no claim here, so that it may run elsewhere."""
    try:
        fd = os.open(_lock_path(folder, process_id), os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        return not _try_lock(fd)
    finally:
        os.close(fd)


def process_ids(folder: Path, suffix: str) -> list[UUID]:
    """Return the processes that have a file with that suffix, the oldest first: their ids begin with the time."""
    names = [path.stem for path in folder.glob(f"*{suffix}")]
    return sorted(UUID(name) for name in names if _ID.fullmatch(name))


def _take_existing(folder: Path, process_id: UUID) -> Claim | None:
    path = _lock_path(folder, process_id)
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        # Another process may have held the claim, and discarded it, just before this one got the lock.
        if _try_lock(fd) and os.path.samestat(path.stat(), os.fstat(fd)):
            return Claim(process_id, folder, fd)
    except FileNotFoundError:
        pass
    os.close(fd)
    return None


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_path(folder: Path, process_id: UUID) -> Path:
    return folder / f"{process_id}{_LOCK}"


def _make_folder(folder: Path) -> None:
    """Make the folder so that it survives a loss of power. SQLite sees to its own files in it."""
    if folder.is_dir():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
