"""The writer of dumps: what waits for its thread, and what becomes of requests if it can't write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from aibridge import Metrics
from aibridge.dumps import writer
from aibridge.dumps.folder import DumpFolder, exchange_path
from aibridge.dumps.masking import Masker
from aibridge.dumps.writer import DumpFile, DumpWriter

EXCHANGE = exchange_path(UUID("01a22386-0c15-7d74-aefc-caf36144a280"))


class WriterTests(SynchronousTestCase):
    """A writer whose thread is in the test's hand."""

    def setUp(self) -> None:
        self.clock, self.path = Clock(), Path(self.mktemp())
        self.registry = CollectorRegistry()
        self.jobs: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        folder = DumpFolder(self.path, 2**20, 7)
        self.writer = DumpWriter("anthropic", folder, self.in_thread, self.clock, Metrics(self.registry))

    def in_thread(self, call: Callable[[], Any]) -> "Deferred[Any]":
        self.jobs.append((call, Deferred()))
        return self.jobs[-1][1]

    def work(self) -> None:
        """Let the thread do what it was given, and what follows."""
        self.clock.advance(0.1)
        while self.jobs:
            call, done = self.jobs.pop()
            try:
                result = call()
            except Exception as error:
                done.errback(error)
            else:
                done.callback(result)
            self.clock.advance(0.1)

    def open(self, name: str = "answer") -> DumpFile:
        return self.writer.open(EXCHANGE, name, Masker([b"a-secret"]))

    def value(self, name: str) -> float | None:
        return self.registry.get_sample_value(name, {"provider": "anthropic"})

    def test_order(self) -> None:
        """Pieces are written in their order, masked, by one thread at a time; small ones wait for more."""
        file = self.open()
        file.write(b"one, a-se")
        self.assertEqual(self.jobs, [])
        file.write(b"cret, " + b"x" * 70_000)
        file.write(b"two")
        file.close()
        self.assertEqual(self.jobs, [])
        flushed = self.writer.flush()
        self.assertEqual(len(self.jobs), 1)
        self.assertNoResult(flushed)
        self.work()
        self.successResultOf(flushed)
        self.assertEqual((self.path / EXCHANGE / "answer").read_bytes(), b"one, [masked], " + b"x" * 70_000 + b"two")
        self.assertEqual((self.writer.pending, self.value("dumps_dropped_total")), (0, None))
        self.successResultOf(self.writer.flush())

    def test_slow_disk(self) -> None:
        """If too much waits, further files are left out and counted; nothing grows without a bound."""
        self.patch(writer, "_MAX_PENDING", 200_000)
        files = [self.open(f"answer-{number}") for number in range(9)]
        for file in files:
            file.write(b"x" * 70_000)
            file.write(b"y" * 70_000)
        self.assertLess(self.writer.pending, 400_000)
        self.work()
        for file in files:
            file.close()
        self.work()
        self.assertEqual((self.writer.pending, self.value("dumps_dropped_total")), (0, 8.0))

    def test_full_disk(self) -> None:
        """A disk that is full stops the dumps, which is told once, and they begin again when there is room."""
        self.path.write_text("no folder")
        with capturedLogs() as events:
            for _ in range(3):
                self.open().close()
                self.work()
                self.clock.advance(61)
        self.assertEqual(len(events), 1)
        self.assertIn("Dumps of anthropic stop, and requests go on", formatEvent(events[0]))
        self.assertEqual((self.writer.stopped, self.value("dumps_stopped")), ("Not a directory", 1.0))
        self.open().close()
        self.work()
        self.path.unlink()
        self.open().close()
        self.assertEqual(self.jobs, [])  # not tried before a while has passed
        self.clock.advance(61)
        with capturedLogs() as events:
            self.open().close()
            self.work()
        self.assertIn("are written again", formatEvent(events[0]))
        self.assertEqual((self.writer.stopped, self.value("dumps_stopped")), ("", 0.0))

    def test_too_large(self) -> None:
        """A file for which there is no room is given up, and the others are written."""
        file, other = self.open(), self.open("other")
        file.write(b"x" * 2**21)
        file.write(b"y")
        other.close()
        self.work()
        file.write(b"z")
        file.close()
        self.work()
        self.assertEqual((self.writer.pending, self.value("dumps_dropped_total")), (0, 1.0))
        self.assertTrue((self.path / EXCHANGE / "other").exists())

    def test_fault(self) -> None:
        """A fault of the writer's own is logged, and no request sees it."""
        self.patch(DumpFolder, "append", lambda *arguments, **options: 1 // 0)
        self.open().close()
        self.work()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.writer.stopped, "ZeroDivisionError")
