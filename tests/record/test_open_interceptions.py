"""Open interceptions: from which rows on, until which, and what failures do to that."""

from collections.abc import Sequence
from datetime import timedelta

from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import RecordingError
from aibridge.record.database import DatabaseAway, open_engine
from aibridge.record.leases import OpenInterceptions
from aibridge.record.records import Record
from aibridge.record.statements import make_encoder

from .samples import NOON, ended, interception, token_usage


class BegunTests(SynchronousTestCase):
    """An interception is open from its first row until its last one is durable, or never will be."""

    def setUp(self) -> None:
        self.encoder = make_encoder(open_engine("sqlite://").dialect, None)
        self.open = OpenInterceptions()
        self.record = interception()
        self.open[self.record.id] = self.record.started_at

    def settle(self, records: Sequence[Record], error: RecordingError | None = None) -> int:
        """Settle rows of the interception, and return how many are open then."""
        entries = [self.encoder(record) for record in records]
        self.open.settle(entries, dict.fromkeys(entries, error) if error is not None else {})
        return len(self.open)

    def test_whole(self) -> None:
        """The first row and later rows leave it open; its end closes it."""
        self.assertEqual(self.settle([self.record, token_usage(self.record.id)]), 1)
        self.assertEqual(self.settle([token_usage(self.record.id), ended(self.record.id)]), 0)

    def test_refused_at_the_beginning(self) -> None:
        """An interception whose first row can't be recorded is not open, whatever the reason."""
        for error in (RecordingError("no"), DatabaseAway("gone fishing")):
            self.open[self.record.id] = self.record.started_at
            self.assertEqual(self.settle([self.record], error), 0)

    def test_end_while_the_database_is_away(self) -> None:
        """An end that may be missing leaves it open, so that it is looked for; an end that never comes does not."""
        self.assertEqual(self.settle([ended(self.record.id)], DatabaseAway("gone fishing")), 1)
        self.assertEqual(self.settle([ended(self.record.id)], RecordingError("no")), 0)

    def test_never_stored(self) -> None:
        """A row without a form in the database closes it if it is the first or the last one."""
        self.open.discard(token_usage(self.record.id))
        self.assertEqual(len(self.open), 1)
        self.open.discard(ended(self.record.id))
        self.assertEqual(len(self.open), 0)

    def test_oldest(self) -> None:
        """The start of the oldest open interception is known; it is now, if none is open."""
        begun = OpenInterceptions()
        before = begun.oldest_at
        for hours in (2, 1, 3):
            begun[interception().id] = NOON + timedelta(hours=hours)
        self.assertEqual(begun.oldest_at, NOON + timedelta(hours=1))
        self.assertGreater(before, NOON)
