"""Limits that several workers share."""

import os
import signal
import sys
from subprocess import PIPE, Popen

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import OverCapacity, TooManyRequests
from aibridge.rate_limits import Limits
from aibridge.workers import shared_limits
from aibridge.workers.shared_limits import SharedCounts, SharedRateLimiter, memory_file


class SharedLimitsTests(SynchronousTestCase):
    """Two workers, in one process."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.counts = SharedCounts(memory_file(), 2)
        self.addCleanup(self.counts.close)
        self.most = 100
        self.workers = [SharedRateLimiter(self.counts, each, lambda: self.most, self.clock) for each in range(2)]

    def limit(self, **limits: int) -> None:
        for worker in self.workers:
            worker.limits = Limits(**limits)

    def test_concurrent(self) -> None:
        """An actor's requests in flight count together, wherever they are; others have limits of their own."""
        self.limit(concurrent=2)
        first, second = self.workers
        with first.enter("alice"), second.enter("alice"):
            for worker in self.workers:
                with self.assertRaises(TooManyRequests), worker.enter("alice"):
                    self.fail("let in")
                with worker.enter("bob"):
                    pass
        with second.enter("alice"):
            pass

    def test_requests_per_minute(self) -> None:
        """The bucket of tokens is shared, too."""
        self.limit(requests_per_minute=4)
        for index in range(4):
            with self.workers[index % 2].enter("alice"):
                pass
        for worker in self.workers:
            with self.assertRaises(TooManyRequests) as caught, worker.enter("alice"):
                self.fail("let in")
            self.assertEqual(caught.exception.retry_after, 15)
        self.clock.advance(15)
        with self.workers[1].enter("alice"):
            pass

    def test_capacity(self) -> None:
        """The requests of all actors count together, without limits for each actor too, and what is refused counts not."""
        self.most = 2
        first, second = self.workers
        for limits in ({}, {"concurrent": 5}):
            self.limit(**limits)
            with first.enter("alice"), second.enter("bob"):
                for worker in self.workers:
                    with self.assertRaises(OverCapacity), worker.enter("carol"):
                        self.fail("let in")
            with second.enter("alice"), second.enter("bob"):
                pass
        self.assertEqual(list(self.counts.requests), [0, 0])

    def test_failed_requests(self) -> None:
        """A request that raises is over as well."""
        self.limit(concurrent=1)
        for _ in range(2):
            with self.assertRaises(ZeroDivisionError), self.workers[0].enter("alice"):
                raise ZeroDivisionError
        with self.workers[1].enter("alice"):
            pass

    def test_dead_worker(self) -> None:
        """The requests of a worker that died are taken away, those of others stay."""
        self.limit(concurrent=2)
        first, second = self.workers
        first.enter("alice").__enter__()
        with second.enter("alice"):
            self.counts.clear(0)
            with second.enter("alice"), self.assertRaises(TooManyRequests), second.enter("alice"):
                self.fail("let in")
        self.assertEqual(list(self.counts.requests), [0, 0])

    def test_many_actors(self) -> None:
        """Where places run out, the actor who was idle longest is forgotten, and never one with a request in flight."""
        self.patch(shared_limits, "_PLACES", 1)
        self.limit(requests_per_minute=60)
        first, second = self.workers
        with first.enter("busy"):
            for number in range(62):
                with first.enter(f"actor {number}"):
                    pass
                self.clock.advance(1)
            with second.enter("the last place"), second.enter("one more"):
                pass
            places = {name: self.counts.find(name) for name in ("busy", "actor 1", "actor 61", "one more")}
            self.assertEqual(len(set(places.values())), 4)
            self.assertEqual(self.counts.in_flight[0][places["busy"]], 1)
            self.assertGreater(self.counts.full_at[places["actor 61"]], 0)

    def test_no_place(self) -> None:
        """More actors at a time than can be counted are refused."""
        self.patch(shared_limits, "_PLACES", 1)
        self.limit(concurrent=1)
        contexts = [self.workers[0].enter(str(number)) for number in range(64)]
        for context in contexts:
            context.__enter__()
        with self.assertRaises(OverCapacity), self.workers[1].enter("one more"):
            self.fail("let in")

    def test_two_processes(self) -> None:
        """Other processes see the counts, and one that is killed while it holds the lock gives it up."""
        self.limit(concurrent=1)
        descriptor = self.counts.descriptor
        program = (
            "import time\nfrom twisted.internet.task import Clock\nfrom aibridge.rate_limits import Limits\n"
            "from aibridge.workers.shared_limits import *\n"
            f"counts = SharedCounts({descriptor}, 2)\n"
            "limiter = SharedRateLimiter(counts, 1, lambda: 10, Clock())\n"
            "limiter.limits = Limits(concurrent=1)\n"
            "with limiter.enter('alice'), counts.locked():\n    print('in', flush=True)\n    time.sleep(60)\n"
        )
        with Popen([sys.executable, "-c", program], pass_fds=[descriptor], stdout=PIPE, env=os.environ) as other:
            assert other.stdout is not None
            self.assertEqual(other.stdout.readline(), b"in\n")
            other.send_signal(signal.SIGKILL)
            other.wait()
        with self.assertRaises(TooManyRequests), self.workers[0].enter("alice"):
            self.fail("let in")
        self.counts.clear(1)
        with self.workers[0].enter("alice"):
            pass
