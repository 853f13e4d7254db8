"""Limits that hold for all workers together, counted in memory that they share.

Each worker writes counts of its own and reads those of all, so that the counts of a worker that dies can be taken away.
The memory is a file without a name::

    open connections of each worker, and one more while it accepts any
    requests in flight of each worker
    for each actor: a digest of the id, and the time at which the bucket of tokens will be full again
    for each worker, for each actor: requests in flight

An actor is one of the `_WINDOW` places after the one that its digest points at.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from itertools import pairwise
from mmap import mmap
from tempfile import TemporaryFile

from twisted.internet.interfaces import IReactorTime

from ..errors import OverCapacity
from ..rate_limits import Limits, check_limits

_PLACES = 16_384
_WINDOW = 64
_ACTORS = _PLACES + _WINDOW
_DIGEST = 16
"""Bytes."""


def memory_file() -> int:
    """Return the descriptor of a new file without a name."""
    with TemporaryFile(buffering=0) as file:
        return os.dup(file.fileno())


class SharedCounts:
    """The shared memory, as arrays.

    :param descriptor: of a file that every process has inherited. Each keeps it open once: closing another one would
        give up its locks.
    """

    def __init__(self, descriptor: int, workers: int) -> None:
        self.descriptor = descriptor
        ends = [0]
        for size in (8 * workers, 8 * workers, _DIGEST * _ACTORS, 8 * _ACTORS, *([4 * _ACTORS] * workers)):
            ends.append(ends[-1] + size)
        if os.fstat(descriptor).st_size < ends[-1]:
            os.ftruncate(descriptor, ends[-1])
        memory = memoryview(mmap(descriptor, ends[-1]))
        parts = [memory[start:end] for start, end in pairwise(ends)]
        self.connections = parts[0].cast("q")
        self.requests = parts[1].cast("q")
        """By worker."""
        self.digests = parts[2]
        self.full_at = parts[3].cast("d")
        """By actor."""
        self.in_flight = [part.cast("i") for part in parts[4:]]
        """By worker and actor."""

    def close(self) -> None:
        """Close the file. The arrays stay as they are for this process."""
        os.close(self.descriptor)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """No other process changes actors meanwhile. The lock is held for microseconds, and ends with its process."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def clear(self, worker: int) -> None:
        """Take away connections and requests of a worker that has ended."""
        with self.locked():
            self.connections[worker] = self.requests[worker] = 0
            self.in_flight[worker].cast("B")[:] = bytes(4 * _ACTORS)

    def find(self, actor_id: str) -> int:
        """Return the place of an actor, which is made if there is none. Call it within `locked`.

        The one who was idle longest is forgotten for it: its bucket is full again, unless all are busy each minute.

        :raises OverCapacity: if all are busy.
        """
        digest = blake2b(actor_id.encode(), digest_size=_DIGEST).digest()
        first = int.from_bytes(digest[:8], "little") % _PLACES
        window = bytes(self.digests[_DIGEST * first : _DIGEST * (first + _WINDOW)])
        for offset in range(0, len(window), _DIGEST) if digest in window else ():
            if window[offset : offset + _DIGEST] == digest:
                return first + offset // _DIGEST
        places = range(first, first + _WINDOW)
        idle = [place for place in places if not any(counts[place] for counts in self.in_flight)]
        if not idle:
            raise OverCapacity("The gateway is at capacity: too many users at a time. Try again in a moment.")
        place = min(idle, key=self.full_at.__getitem__)
        self.digests[_DIGEST * place : _DIGEST * (place + 1)] = digest
        self.full_at[place] = 0.0
        return place


class SharedRateLimiter:
    """Counts the requests of one worker, and limits those of all.

    :param worker: counted from 0.
    :param max_requests: returns the most requests in flight, of all actors together.
    """

    def __init__(self, counts: SharedCounts, worker: int, max_requests: Callable[[], int], clock: IReactorTime) -> None:
        self.limits = Limits()
        self._max_requests = max_requests
        self._counts = counts
        self._worker = worker
        self._now = clock.seconds

    @contextmanager
    def enter(self, actor_id: str) -> Iterator[None]:
        """The context of a request of that actor. Raises a GatewayError if the request is over a limit.

        It counts itself first and then looks at the sum: of two workers that do so at once, none can miss the other.
        """
        requests, worker = self._counts.requests, self._worker
        requests[worker] += 1
        try:
            if sum(requests) > (most := self._max_requests()):
                raise OverCapacity(
                    f"The gateway is at capacity: at most {most} requests at a time. Try again in a moment."
                )
            if self.limits == Limits():
                yield
            else:
                yield from self._enter_actor(actor_id)
        finally:
            requests[worker] -= 1

    def check(self, actor_id: str) -> None:
        """Raise TooManyRequests if a request of that actor would be over a limit now."""
        if self.limits != Limits():
            with self._counts.locked():
                self._check(actor_id)

    def _check(self, actor_id: str) -> tuple[int, float | None]:
        """Return the actor's place, and the time at which the bucket will be full again after one more request."""
        counts = self._counts
        place = counts.find(actor_id)
        in_flight = sum(each[place] for each in counts.in_flight)
        return place, check_limits(self.limits, in_flight, counts.full_at[place], self._now)

    def _enter_actor(self, actor_id: str) -> Iterator[None]:
        counts, own = self._counts, self._counts.in_flight[self._worker]
        with counts.locked():
            place, full_at = self._check(actor_id)
            if full_at is not None:
                counts.full_at[place] = full_at
            own[place] += 1
        try:
            yield
        finally:
            own[place] -= 1
