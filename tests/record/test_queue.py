"""The queue of rows, with a store that the test controls."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import RecordingError
from aibridge.record.database import open_engine
from aibridge.record.queue import WriteQueue
from aibridge.record.statements import Entry, Refusals, make_encoder

from .samples import interception, prompt


class Turns:
    """A reactor of which each turn runs what was called before it."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []

    def callLater(self, seconds: float, call: Callable[..., object], *args: Any) -> None:
        self.calls.append(partial(call, *args))

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class WriteQueueTests(SynchronousTestCase):
    """``batches`` are what was handed over so far, each with the Deferred that ends its storing."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.batches: list[tuple[list[Entry], Deferred[Refusals]]] = []
        self.queue = WriteQueue(self.clock, self.store)
        self.encoder = make_encoder(open_engine("sqlite://").dialect, None)

    def store(self, entries: Sequence[Entry]) -> "Deferred[Refusals]":
        stored: Deferred[Refusals] = Deferred()
        self.batches.append((list(entries), stored))
        return stored

    def entries(self, number: int) -> list[Entry]:
        return [self.encoder(interception()) for _ in range(number)]

    def write(self, entries: list[Entry]) -> list["Deferred[None]"]:
        return [self.queue.write([entry]) for entry in entries]

    def handed_over(self) -> list[list[Entry]]:
        return [batch for batch, _ in self.batches]

    def test_shared(self) -> None:
        """Rows of one turn of the reactor share one batch, and wait for its end."""
        entries = self.entries(15)
        waiting = self.write(entries)
        assert self.handed_over() == []
        self.clock.advance(0)
        assert self.handed_over() == [entries]
        self.assertNoResult(waiting[0])
        self.batches[0][1].callback({})
        for done in waiting:
            self.successResultOf(done)

    def test_next(self) -> None:
        """Rows that come while a batch is being stored form the next batch."""
        first, second, third = self.entries(3)
        self.write([first])
        self.clock.advance(0)
        self.write([second, third])
        self.clock.advance(0)
        assert self.handed_over() == [[first]]
        self.batches[0][1].callback({})
        self.clock.advance(0)
        assert self.handed_over() == [[first], [second, third]]

    def test_gathered(self) -> None:
        """As long as each turn of the reactor brings more, a batch waits for it; not for ever."""
        first, second, third = self.entries(3)
        turns = Turns()
        self.queue = WriteQueue(turns, self.store)
        self.write([first])
        self.write([second])
        turns.run()
        assert self.handed_over() == []
        self.write([third])
        turns.run()
        assert self.handed_over() == []
        turns.run()
        assert self.handed_over() == [[first, second, third]]
        self.batches[0][1].callback({})
        for _ in range(200):
            self.write(self.entries(1))
            turns.run()
        assert len(self.handed_over()) == 2

    def test_refused(self) -> None:
        """A row that can't be stored fails alone."""
        good, bad = self.entries(2)
        fine, refused = self.write([good, bad])
        self.clock.advance(0)
        self.batches[0][1].callback({bad: RecordingError("no")})
        self.successResultOf(fine)
        self.failureResultOf(refused, RecordingError)

    def test_group(self) -> None:
        """Rows that are written together are waited for together; one of them that can't be stored fails them."""
        first, second, other = self.entries(3)
        fine = self.queue.write([first, second])
        refused = self.queue.write([other, bad := self.entries(1)[0]])
        self.clock.advance(0)
        assert self.handed_over() == [[first, second, other, bad]]
        assert self.queue.queued_rows == 4
        self.batches[0][1].callback({bad: RecordingError("no")})
        self.successResultOf(fine)
        self.failureResultOf(refused, RecordingError)
        assert (self.queue.queued_rows, self.queue.queued_bytes) == (0, 0)

    def test_failed(self) -> None:
        """If no row of a batch can be stored all of them fail; later rows are tried again."""
        first, second, later = self.entries(3)
        waiting = self.write([first, second])
        self.clock.advance(0)
        self.batches[0][1].errback(RecordingError("away"))
        for done in waiting:
            self.failureResultOf(done, RecordingError)
        self.write([later])
        self.clock.advance(0)
        assert self.handed_over()[1:] == [[later]]

    def test_unforeseen(self) -> None:
        """An unexpected error fails the records, and goes to the log."""
        (done,) = self.write(self.entries(1))
        self.clock.advance(0)
        self.batches[0][1].errback(ZeroDivisionError())
        self.failureResultOf(done, RecordingError)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    def test_queued(self) -> None:
        """Rows and bytes count until they are durable."""
        entry = self.encoder(prompt(interception().id, prompt="x" * 10_000))
        self.write([entry])
        assert (self.queue.queued_rows, self.queue.queued_bytes // 1000) == (1, 10)
        self.clock.advance(0)
        self.write(self.entries(2))
        assert self.queue.queued_rows == 3
        self.batches[0][1].callback({})
        self.clock.advance(0)
        self.batches[1][1].callback({})
        assert (self.queue.queued_rows, self.queue.queued_bytes) == (0, 0)

    def test_held(self) -> None:
        """A held queue finishes the present batch and begins no other until it is released."""
        first, second = self.entries(2)
        self.write([first])
        self.clock.advance(0)
        held = self.queue.hold()
        self.write([second])
        self.assertNoResult(held)
        self.batches[0][1].callback({})
        self.successResultOf(held)
        self.clock.advance(0)
        assert self.handed_over() == [[first]]
        self.queue.release()
        assert self.handed_over() == [[first], [second]]

    def test_finish(self) -> None:
        """A flush waits for everything that was queued."""
        first, second = self.entries(2)
        self.write([first])
        finished = self.queue.flush()
        self.write([second])
        self.batches[0][1].callback({})
        self.clock.advance(0)
        self.assertNoResult(finished)
        self.batches[1][1].callback({})
        self.successResultOf(finished)

    def test_nothing_to_finish(self) -> None:
        """Without queued rows there is nothing to wait for."""
        self.successResultOf(self.queue.flush())
        self.successResultOf(self.queue.hold())
