"""Users whom the operator has disabled: their requests are refused, in whichever way they are authenticated."""

from collections.abc import Callable, Coroutine
from functools import partial

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

from ..errors import Unauthorized
from ..interfaces import Actor, IAuthenticator, IRevocable
from ..record.erasure import hidden_name
from ..record.queue import IThreadedReactor
from ..record.values import bounded
from ..waiters import Waiters
from .user_store import UserStore

Find = Callable[[], "Deferred[frozenset[str]]"]
"""A query of the database for the names of all disabled users."""

# Seconds. A change takes effect within five: until it is seen, at most _STALE and the time of a query pass.
_FRESH = 2.0
_STALE = 4.0
_QUERY_TIMEOUT = 3.0
_NEVER = float("-inf")
_log = Logger()


class DisabledUsers:
    """The disabled users, read from the database every few seconds while there are requests.

    While the database is away, those stay disabled who were so when it was last read; before it was read for the first
    time, nobody is.
    """

    def __init__(self, find: Find, clock: IReactorTime) -> None:
        self._find = find
        self._clock = clock
        self._names: frozenset[str] = frozenset()
        self._asked_at = _NEVER
        """The time at which the last query ended, well or not."""
        self._is_asking = False
        self._has_failed = False
        """True if the last query failed: then no request waits for the next one."""
        self._waiters = Waiters()

    def includes(self, actor_id: str) -> "bool | Deferred[bool]":
        """Return True if the user is disabled. The Deferred fires when the database was read; it never fails."""
        age = self._clock.seconds() - self._asked_at
        if age >= _FRESH and not self._is_asking:
            self._ask()
        if age < _STALE or not self._is_asking or self._has_failed:
            return self._has(actor_id)
        return self._waiters.wait().addCallback(lambda _: self._has(actor_id))

    def _has(self, actor_id: str) -> bool:
        if not self._names:
            return False
        return bounded(actor_id) in self._names or hidden_name(actor_id) in self._names

    def _ask(self) -> None:
        self._is_asking = True
        query = maybeDeferred(self._find).addTimeout(_QUERY_TIMEOUT, self._clock)
        query.addCallbacks(self._keep, self._failed).addBoth(self._ended)

    def _keep(self, names: frozenset[str]) -> None:
        self._names, self._has_failed = names, False

    def _failed(self, failure: Failure) -> None:
        if not self._has_failed:
            why = str(failure.value) or type(failure.value).__name__
            _log.warn("disabled users can't be looked up in the database, those of before stay so: {why}", why=why)
        self._has_failed = True

    def _ended(self, result: object) -> None:
        self._is_asking = False
        self._asked_at = self._clock.seconds()
        self._waiters.notify()


def find_disabled(url: str, reactor: IThreadedReactor) -> Find:
    """Return the query of the database of that URL."""
    store = UserStore(url)
    # The reactor's pool has no threads before it runs, as a process that is yet to fork requires.
    return lambda: deferToThreadPool(reactor, reactor.getThreadPool(), store.disabled)


@implementer(IAuthenticator, IRevocable)
class EnabledUsersOnly:
    """An authenticator that refuses the disabled among the actors of another one."""

    def __init__(self, authenticator: IAuthenticator, disabled: DisabledUsers) -> None:
        self._authenticator = authenticator
        self._disabled = disabled

    def authenticate(self, request: Request) -> "Actor | Deferred[Actor | None] | None":
        """Return the request's actor. Raise Unauthorized, or fail with it, if the actor is disabled."""
        found = self._authenticator.authenticate(request)
        if isinstance(found, Coroutine):
            found = Deferred.fromCoroutine(found)
        return found.addCallback(self._check) if isinstance(found, Deferred) else self._check(found)

    def _check(self, actor: Actor | None) -> "Actor | Deferred[Actor | None] | None":
        if actor is None:
            return None
        is_disabled = self._disabled.includes(actor.id)
        if isinstance(is_disabled, Deferred):
            return is_disabled.addCallback(partial(_require_enabled, actor))
        return _require_enabled(actor, is_disabled)


def _require_enabled(actor: Actor, is_disabled: bool) -> Actor:
    if is_disabled:
        raise Unauthorized(
            "This user is disabled. Ask the gateway's administrator.", reason=f"user {actor.id} is disabled"
        )
    return actor
