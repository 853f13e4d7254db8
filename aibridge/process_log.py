"""The log of a gateway's own process: where twistd is told to write it, as lines of text or of JSON."""

import atexit
import sys
from collections.abc import Callable, Mapping
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO, cast

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogEvent, Logger

from . import settings
from .json_log import json_of
from .logs import LEVELS, Lines, text_of

_log = Logger()
TEXT = "text"
_FORMATS: Mapping[str, Callable[[LogEvent], str | None]] = {TEXT: text_of, "json": json_of}
_DAEMONS_FILE = "twistd.log"
"""The name that twistd uses too."""


@frozen(kw_only=True)
class LogSettings:
    """The settings of the process's log."""

    format: str = settings.choice(*_FORMATS, default=TEXT)
    level: str = settings.choice(*LEVELS, default="info")
    """The least level of the events that are written."""


class ProcessLog:
    """Makes the observer of the process's log, and changes it while the process runs.

    A file is only appended to. It is neither rotated nor ever removed: `reopen` serves programs that do that.
    """

    def __init__(self) -> None:
        self.is_used = False
        """True if twistd writes its log here, and not to a log of the operator's choice."""
        self._settings = LogSettings()
        self._path: Path | None = None
        self._lines: Lines | None = None

    def take_over(self, twistd: Mapping[str, object]) -> bool:
        """Return True if the log that twistd's options ask for is this one: standard output, or a file."""
        name, is_daemon = twistd.get("logfile"), not (twistd.get("nodaemon") or twistd.get("debug"))
        # A daemon has no standard output: twistd says so.
        self.is_used = not (twistd.get("logger") or twistd.get("syslog") or (name == "-" and is_daemon))
        if self.is_used and (is_daemon or name not in (None, "", "-")):
            # twistd may change its directory before the file is opened again.
            self._path = Path(str(name or _DAEMONS_FILE)).absolute()
        return self.is_used

    def configure(self, settings: LogSettings) -> None:
        """Write with these settings from now on."""
        self._settings = settings
        if self._lines is not None:
            self._prepare(self._lines.out)
            self._lines.configure(_FORMATS[settings.format], settings.level)

    def for_process(self) -> "ProcessLog":
        """Return a log that another process can open, at the same place and with the same settings."""
        other = ProcessLog()
        other.is_used, other._settings, other._path = self.is_used, self._settings, self._path
        return other

    def __call__(self) -> Lines:
        """Open the log. twistd calls this before it goes into the background.

        :raises SystemExit: with a line for standard error, if the file can't be written.
        """
        from twisted.internet import reactor

        try:
            out = sys.stdout if self._path is None else _open(self._path)
        except OSError as error:
            raise SystemExit(
                f"the log {self._path} can't be written: {error.strerror}; set twistd's --logfile"
            ) from None
        self._prepare(out)
        self._lines = Lines(out, cast(IReactorTime, reactor), _FORMATS[self._settings.format], self._settings.level)
        atexit.register(self._lines.flush)
        return self._lines

    def reopen(self) -> None:
        """Open the file again: another program may have renamed it. Standard output stays as it is."""
        if self._path is None or self._lines is None:
            return
        try:
            before = self._lines.replace(_open(self._path))
        except OSError as error:
            _log.error("The log {path} can't be opened again: {why}", path=str(self._path), why=error.strerror)
            return
        before.close()
        _log.info("The log {path} is opened again.", path=str(self._path))

    def _prepare(self, out: TextIO) -> None:
        """Make every character writable: JSON is UTF-8, and a line of text escapes what its locale does not have."""
        if isinstance(out, TextIOWrapper):
            if self._settings.format != TEXT:
                out.reconfigure(encoding="utf-8")
            out.reconfigure(errors="backslashreplace")


def _open(path: Path) -> TextIO:
    return path.open("a", encoding="utf-8", errors="backslashreplace")


process_log = ProcessLog()
"""The log of this process, of which there is one. twistd finds it by its name."""
