"""Which processes of this machine are alive, by files that they hold locked.

A claim is a file ``ID.lock`` in the spool's folder, locked for as long as its process lives: the kernel gives
the lock back when the process ends, however it ends. Who gets the lock of another one's claim knows that one
to be dead, and is the only one to know: what it left is now his to look after.
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
    """A process's claim, held by us; ours, or that of a dead one."""

    process_id: UUID
    folder: Path
    _fd: int

    def spool(self) -> Spool:
        """A new connection to the process's spool."""
        return Spool(self.folder / f"{self.process_id}{SUFFIX}")

    def release(self) -> None:
        """Leave the claim, and what belongs to it, to whoever comes next."""
        os.close(self._fd)

    def discard(self) -> None:
        """There is nothing left to look after."""
        _lock_path(self.folder, self.process_id).unlink(missing_ok=True)
        os.close(self._fd)


def make_claim(folder: Path, process_id: UUID) -> Claim:
    """Begin to be alive. The folder is made where there is none; only its owner may look into it."""
    path = _lock_path(folder, process_id)
    try:
        _make(folder)
        new = path.with_suffix(".new")
        fd = os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        new.rename(path)  # only now others see it, and never unlocked
    except OSError as error:
        raise RecordingError(f"spool folder {folder}: {error.strerror}") from error
    return Claim(process_id, folder, fd)


def claims_of_the_dead(folder: Path) -> Iterator[Claim]:
    """The claims of all processes that have ended without clearing up; each is given to one caller only."""
    for process_id in ids_of(folder, _LOCK):
        claim = _take(folder, process_id)
        if claim is not None:
            yield claim


def take_claim(folder: Path, process_id: UUID) -> Claim | None:
    """The claim of a dead process, or of one that has left nothing but its spool; None if it lives."""
    if is_alive(folder, process_id) is None:
        return make_claim(folder, process_id)
    return _take(folder, process_id)


def is_alive(folder: Path, process_id: UUID) -> bool | None:
    """Whether the process lives; None where it has no claim here, and so may run elsewhere."""
    try:
        fd = os.open(_lock_path(folder, process_id), os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        return not _lock(fd)
    finally:
        os.close(fd)


def ids_of(folder: Path, suffix: str) -> list[UUID]:
    """The processes that have a file of that kind, the oldest first: their ids are made of the time."""
    names = [path.stem for path in folder.glob(f"*{suffix}")]
    return sorted(UUID(name) for name in names if _ID.fullmatch(name))


def _take(folder: Path, process_id: UUID) -> Claim | None:
    path = _lock_path(folder, process_id)
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    if _lock(fd) and _is_still_there(path, fd):
        return Claim(process_id, folder, fd)
    os.close(fd)
    return None


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still_there(path: Path, fd: int) -> bool:
    """Someone else may have held it, and been done with it, just before us."""
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _lock_path(folder: Path, process_id: UUID) -> Path:
    return folder / f"{process_id}{_LOCK}"


def _make(folder: Path) -> None:
    """It must still be there after a loss of power. SQLite sees to its own files in it."""
    if folder.is_dir():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
