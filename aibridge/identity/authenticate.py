"""Authentication in general: actors, the ways to find a request's actor, and the log of rejected requests."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.iweb import IRequest

from ..caches import LRUCache
from ..errors import AIBridgeError, GatewayError, Unauthorized
from ..interfaces import Actor, IAuthenticator

_log = Logger()
_LOGGED_EVERY = 60.0
_MOST_REASONS = 1000


Authenticate = Callable[[IRequest], "Actor | Deferred[Actor | None] | Coroutine[Any, Any, Actor | None] | None"]
"""A function from a request to its actor, or None."""

ANONYMOUS = Actor("anonymous")
"""The actor of every request where nobody is authenticated."""


def as_function(given: Authenticate | IAuthenticator) -> Authenticate:
    """Return an authenticator's method, or the plain function itself."""
    return given.authenticate if IAuthenticator.providedBy(given) else given


async def identify(
    authenticate: Authenticate, request: IRequest, wait: "Callable[[Deferred[Actor | None]], Awaitable[Actor | None]]"
) -> Actor:
    """Return the request's actor. Raises `Unauthorized` without one, `GatewayError` if it can't be found out.

    `wait` waits for an authenticator that gives a Deferred or a coroutine; whatever it raises itself goes on.
    """
    try:
        actor = authenticate(request)
        if type(actor) is not Actor and isinstance(actor, Coroutine):
            actor = Deferred.fromCoroutine(actor)
        if isinstance(actor, Deferred):
            actor = await wait(actor)
    except AIBridgeError:
        raise
    except Exception as error:  # a host's own authenticator may raise anything
        _log.failure("an authenticator failed")
        raise GatewayError("Authentication failed in the gateway; its log says why.") from error
    if actor is None:
        raise Unauthorized("Authentication failed: the gateway's credential is missing or wrong.")
    return actor


class RejectionLog:
    """The reasons of rejected requests, for the operator's log; clients are not told them.

    Each reason is logged once a minute at most, so that nobody can fill the log.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last: LRUCache[str, tuple[float, int]] = LRUCache(_MOST_REASONS)
        """For each reason the time of its last line, and the rejections since then."""

    def add(self, reason: str, kind: str | None = None) -> None:
        """Log a rejection, unless a line of the same kind is younger than a minute. `kind`: the reason by default.

        The reason must not contain a credential. Texts that strangers choose freely need a fixed `kind`.
        """
        kind = kind or reason
        logged_at, since = self._last.get(kind) or (float("-inf"), 0)
        if self._now() - logged_at < _LOGGED_EVERY:
            self._last.set(kind, (logged_at, since + 1))
            return
        self._last.set(kind, (self._now(), 0))
        more = f" (and {since} more since the last such line)" if since else ""
        _log.info("authentication failed: {reason}{more}", reason=reason, more=more)
