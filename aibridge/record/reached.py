"""The mark of a database that was reached once.

Without it, a database that is away at the start may never have existed: its URL may be wrong. A SQLite database is its
own mark; of a server's database it is an empty file in the spool's folder.
"""

from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from .database import printable
from .urls import exists, parse_url, sqlite_file


class ReachedMark:
    """The mark of the database at ``url``. Without a folder a server's mark lasts as long as the object."""

    def __init__(self, folder: Path | None, url: str) -> None:
        self._new: Path | None = None
        """The file to make when the database is reached."""
        parsed = parse_url(url)
        if parsed.get_backend_name() == "sqlite":
            file = sqlite_file(url)
            self.is_set = file is not None and exists(file)
        elif folder is None:
            self.is_set = False
        else:
            self._new = folder / f"{sha256(printable(url).encode()).hexdigest()[:16]}.reached"
            self.is_set = exists(self._new)

    def set(self) -> None:
        """Set the mark. A folder that can't be written is no obstacle: the mark then ends with the process."""
        if not self.is_set and self._new is not None:
            with suppress(OSError):
                self._new.touch(mode=0o600)
        self.is_set = True
