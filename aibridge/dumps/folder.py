"""The folder of a provider's dumps, used in a thread: ``{date}/{interception id}/`` holds the files of one exchange."""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import time
from uuid import UUID

from attrs import define, field

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ROOM = 0.1
"""The share of the bound that is free again after dumps were removed, so that this is seldom necessary."""


_WITH_TIME = 7
"""The version of ids that begin with a time: https://www.rfc-editor.org/rfc/rfc9562#section-5.7"""


def exchange_path(interception_id: UUID) -> str:
    """Return the path of an exchange's dump within the folder. The gateway's ids have the exchange's time in them."""
    if interception_id.version != _WITH_TIME:
        return f"undated/{interception_id}"
    began = datetime.fromtimestamp((interception_id.int >> 80) / 1000, UTC)
    return f"{began:%Y-%m-%d}/{interception_id}"


def remove_dumps(folder: Path, interception_ids: Iterable[UUID]) -> int:
    """Remove the dumps of these exchanges. Return the number of those that there were."""
    removed = 0
    for path in (folder / exchange_path(id_) for id_ in interception_ids):
        if path.is_dir():
            shutil.rmtree(path)
            removed += 1
    return removed


@define(eq=False)
class DumpFolder:
    """Appends to files, and removes the oldest exchanges when there is no room for more.

    Several processes may write to one folder. Each looks from time to time at what the others have written.
    """

    path: Path
    max_bytes: int
    days: int
    """Dumps of earlier days are removed; 0 keeps them."""
    _now: Callable[[], float] = time
    _size: int | None = field(default=None, init=False)
    """The bytes of all files, as far as this process knows them; None before it has looked."""
    _since_look: int = field(default=0, init=False)
    """The bytes that were written since then."""
    _today: date | None = field(default=None, init=False)

    def has_settings_of(self, other: "DumpFolder") -> bool:
        """Return True if both are the same folder with the same bounds."""
        return (self.path, self.max_bytes, self.days) == (other.path, other.max_bytes, other.days)

    def append(self, exchange: str, name: str, data: bytes, is_first: bool) -> bool:
        """Append to a file of an exchange, or make it. Return False if it was removed, or is too large.

        Raises OSError if the disk is full, or the folder can't be written.
        """
        self._make_room(len(data))
        directory = self.path / exchange
        if is_first:
            self._make_directory(directory)
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | (os.O_CREAT if is_first else 0)
        if len(data) > self.max_bytes:
            return False
        try:
            file = os.open(directory / name, flags, 0o600)
        except FileNotFoundError:
            if is_first:
                raise
            return False  # there was no room for all of it
        with os.fdopen(file, "wb") as out:
            out.write(data)
        assert self._size is not None
        self._size += len(data)
        self._since_look += len(data)
        return True

    def _make_directory(self, directory: Path) -> None:
        """Make the directory of an exchange, and those above it if they are missing."""
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.parent.mkdir(mode=0o700, exist_ok=True)
            directory.mkdir(mode=0o700, exist_ok=True)

    def _make_room(self, needed: int) -> None:
        """Remove what is too old, and the oldest exchanges if the rest and the new bytes are too much together."""
        today = datetime.fromtimestamp(self._now(), UTC).date()
        if today != self._today:
            self._today = today
            self._remove_expired(today)
            self._size = None
        if self._size is None or self._since_look > self.max_bytes * _ROOM:
            self._look()
        assert self._size is not None
        if self._size + needed <= self.max_bytes:
            return
        sizes = self._look()
        for path in sorted(sizes):
            if self._size + needed <= self.max_bytes * (1 - _ROOM):
                break
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):  # the day has other exchanges
                path.parent.rmdir()
            self._size -= sizes[path]

    def _remove_expired(self, today: date) -> None:
        if not self.days:
            return
        oldest = f"{today - timedelta(days=self.days - 1):%Y-%m-%d}"
        for exchange in [*self._exchanges()]:
            if exchange.parent.name < oldest:
                shutil.rmtree(exchange, ignore_errors=True)
                with suppress(OSError):
                    exchange.parent.rmdir()

    def _look(self) -> dict[Path, int]:
        """Return the bytes of each exchange, and note their sum."""
        sizes = {exchange: sum(_size_of(file) for file in _files(exchange)) for exchange in self._exchanges()}
        self._size, self._since_look = sum(sizes.values()), 0
        return sizes

    def _exchanges(self) -> Iterator[Path]:
        """Yield the directory of each exchange. Whatever else is in the folder is not ours."""
        for day in _files(self.path):
            if _DATE.fullmatch(day.name):
                yield from (each for each in _files(day) if _ID.fullmatch(each.name))


def _files(path: Path) -> list[Path]:
    """Return what a directory contains; nothing if it is gone meanwhile."""
    try:
        return [*path.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size_of(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_size
    return 0
