"""Secrets that expire: looked up off the reactor's thread, kept while they are valid, and renewed ahead."""

from collections.abc import Callable
from time import time
from typing import Any, Generic, TypeVar, cast

from attrs import frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from ..errors import NoCredentials
from ..waiters import Waiters

T = TypeVar("T")

RENEWED_AHEAD = 300.0
"""Seconds before the end of a secret at which the next one is looked up."""
_KEPT = 3600.0
"""Seconds for which a secret without an end is kept: keys in files are replaced at times."""
_BETWEEN_TRIES = 5.0
"""Seconds between look-ups that fail, or that find what ends soon."""

_log = Logger()


@frozen
class Found(Generic[T]):
    """A secret, and the time of its end by the clock of the world (seconds since 1970), if it has one."""

    value: T
    expires_at: float | None = None


class NothingFound(Exception):
    """A look-up's own word on why there is nothing. It holds no secret, and may be shown to clients."""


class Lookup(Generic[T]):
    """Keeps one secret. All who need it at the same time share one look-up.

    :param cloud: the name of the cloud in messages.
    :param look_up: returns the secret; it may block, and runs in a thread.
    """

    def __init__(self, cloud: str, look_up: Callable[[], Found[T]], reactor: IReactorTime) -> None:
        self.problem: str | None = None
        """Why there is no valid secret; None if there is one, or none was looked for yet."""
        self._cloud = cloud
        self._look_up = look_up
        self._reactor = reactor
        self._value: T | None = None
        self._valid_until = self._renewed_at = self._tried_at = float("-inf")
        self._is_running = False
        self._waiters = Waiters()

    def current(self) -> T | None:
        """Return the secret if it is valid. A new one is looked up in the background if it ends soon."""
        now = self._reactor.seconds()
        if now >= self._renewed_at:
            self.start()
            return self._value if now < self._valid_until else None
        return self._value

    def get(self) -> "Deferred[T]":
        """Fires with a valid secret, now or after a look-up. Fails with NoCredentials if that finds none."""
        value = self.current()
        if value is not None:
            return succeed(value)
        if not self._is_running:  # the last look-up failed a moment ago
            return fail(self._error())
        return self._waiters.wait().addCallback(lambda _: self._looked_up())

    def doubt(self) -> None:
        """Look for another secret when this one is asked for next. It is used until that is found."""
        self._renewed_at = min(self._renewed_at, self._reactor.seconds())

    def start(self) -> None:
        """Begin a look-up, unless one runs or has just failed."""
        now = self._reactor.seconds()
        if self._is_running or now - self._tried_at < _BETWEEN_TRIES:
            return
        self._is_running, self._tried_at = True, now
        Deferred.fromCoroutine(self._run())

    async def _run(self) -> None:
        """Look for the secret once, and keep it, or the reason why there is none."""
        try:
            found = await in_thread(self._reactor, self._look_up)
            seconds = _KEPT + RENEWED_AHEAD if found.expires_at is None else found.expires_at - time()
            if seconds <= 0:
                raise NothingFound("what was found has expired")
            now = self._reactor.seconds()
            self._value, self._valid_until = found.value, now + seconds
            self._renewed_at = now + seconds - RENEWED_AHEAD
            self.problem = None
        except Exception as error:
            # Other libraries' texts may hold secrets: their errors' classes have to do.
            why = str(error) if isinstance(error, NothingFound) else type(error).__name__
            _log.error("no new credentials for {cloud}: {why}", cloud=self._cloud, why=why)
            if self._reactor.seconds() >= self._valid_until:
                self._value = None
                self.problem = why
        finally:
            self._is_running = False
            self._waiters.notify()

    def _looked_up(self) -> T:
        if self._value is None or self._reactor.seconds() >= self._valid_until:
            raise self._error()
        return self._value

    def _error(self) -> NoCredentials:
        return NoCredentials(f"no credentials for {self._cloud}: {self.problem or 'none was found'}.")


def in_thread(reactor: IReactorTime, call: Callable[[], T]) -> "Deferred[T]":
    """Run a function that blocks in a thread of the reactor's pool."""
    threads = cast(Any, reactor)
    deferred: Deferred[T] = deferToThreadPool(threads, threads.getThreadPool(), call)
    return deferred
