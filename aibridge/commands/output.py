"""The output of commands: aligned columns, questions, progress, colours, notes beside the output, and private files."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import TextIO

from ..errors import AIBridgeError, ConfigError

_EVERY_ON_TERMINAL = 0.2
_EVERY_ELSEWHERE = 10.0
"""Seconds between two reports of progress."""

_BAR = 30
"""Characters of a bar."""


def align_columns(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Align lines of cells."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def write_note(text: str) -> None:
    """Write a line to standard error, which a program that reads the output does not see."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def confirm(question: str) -> None:
    """Ask a question on a terminal. Raise AIBridgeError unless the answer is yes. Elsewhere nobody can answer."""
    if not sys.stdin.isatty():
        return
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise AIBridgeError("nothing is deleted")


class Progress:
    """Progress on standard error: a bar that is written over on a terminal, a line every ten seconds elsewhere.

    :param done: the words after the number, such as ``interceptions deleted``.
    :param total: the number at the end; 0 if it is not known.
    """

    def __init__(self, done: str, total: int, now: Callable[[], float] = monotonic) -> None:
        self._done = done
        self._total = total
        self._now = now
        self._count = 0
        self._stream: TextIO = sys.stderr
        self._on_terminal = self._stream.isatty()
        self._every = _EVERY_ON_TERMINAL if self._on_terminal else _EVERY_ELSEWHERE
        self._shown_at = now()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def advance(self, count: int = 1) -> None:
        """Add to the number."""
        self._count += count
        if self._now() - self._shown_at >= self._every:
            self._shown_at = self._now()
            self._stream.write(f"\r\x1b[K{self._line()}" if self._on_terminal else f"{self._line()}\n")
            self._stream.flush()

    def end(self) -> None:
        """Remove the bar from a terminal."""
        if self._on_terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _line(self) -> str:
        if not self._total:
            return f"{self._count} {self._done}"
        percent = min(100, self._count * 100 // self._total)
        bar = f"[{'#' * (percent * _BAR // 100):<{_BAR}}]  " if self._on_terminal else ""
        return f"{bar}{percent:3} %  {self._count} of {max(self._total, self._count)} {self._done}"


def paint(text: str, colour: int) -> str:
    """Return a text in a colour of ANSI's (31 red, 32 green, 33 yellow) if the output is a terminal that shows it.

    The variable NO_COLOR turns colours off: https://no-color.org
    """
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def open_private_file(name: str, option: str, *, overwrite: bool) -> TextIO:
    """Open a text file for writing that only its owner may read. Raise ConfigError if that can't be done.

    :param option: the option that named the file, for the error.
    :param overwrite: True to write over a file that exists.
    """
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if overwrite or os.path.isdir(name) else os.O_EXCL)  # noqa: PTH112
    try:
        fd = os.open(name, flags, 0o600)
        os.fchmod(fd, 0o600)
    except FileExistsError as error:
        raise ConfigError("command line", option, f"{name} exists; give --force to write over it") from error
    except OSError as error:
        raise ConfigError("command line", option, f"{name}: {error.strerror}") from error
    return os.fdopen(fd, "w", encoding="utf-8")
