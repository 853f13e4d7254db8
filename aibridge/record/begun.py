"""The interceptions that have begun, and whose end is not durable yet."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from .database import DatabaseAway
from .ledger import utc_now
from .records import InterceptionRecord, InterceptionRecordEnded, Record
from .statements import Entry, Refusals


class Begun:
    """Told of every row, because only one that is durable, or never will be, changes anything."""

    def __init__(self) -> None:
        self._started_at: dict[UUID, datetime] = {}

    def __len__(self) -> int:
        return len(self._started_at)

    @property
    def oldest_at(self) -> datetime:
        """When the oldest of them began; now, where there is none. On any thread."""
        return min(list(self._started_at.values()), default=utc_now())  # a list of them all is made in one step

    def add(self, record: InterceptionRecord) -> None:
        """It is about to be written."""
        self._started_at[record.id] = record.started_at

    def settled(self, entries: Sequence[Entry], refused: Refusals) -> None:
        """These are durable, but for those that were refused."""
        for entry in entries:
            record = entry.record
            if type(record) is InterceptionRecordEnded:
                if not refused or not isinstance(refused.get(entry), DatabaseAway):
                    self._started_at.pop(record.id, None)
            elif refused and entry in refused:
                self.refused(record)

    def refused(self, record: Record) -> None:
        """It never will be durable."""
        if isinstance(record, InterceptionRecord | InterceptionRecordEnded):
            self._started_at.pop(record.id, None)
