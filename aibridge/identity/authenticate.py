"""Authentication in general: actors, and the ways to find a request's actor."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.server import Request

from ..errors import AIBridgeError, GatewayError, Unauthorized
from ..interfaces import Actor, IAuthenticator

_log = Logger()


Authenticate = Callable[
    [Request], "Actor | Deferred[Actor] | Deferred[Actor | None] | Coroutine[Any, Any, Actor | None] | None"
]
"""A function from a request to its actor, or None. Its argument may be annotated with `IRequest`, too."""

ANONYMOUS = Actor("anonymous")
"""The actor of every request where nobody is authenticated."""


def as_function(given: Authenticate | IAuthenticator) -> Authenticate:
    """Return an authenticator's method, or the plain function itself."""
    return given.authenticate if IAuthenticator.providedBy(given) else given


async def identify(
    authenticate: Authenticate, request: Request, wait: "Callable[[Deferred[Actor | None]], Awaitable[Actor | None]]"
) -> Actor:
    """Return the request's actor. Raises `Unauthorized` without one, `GatewayError` if it can't be found out.

    `wait` waits for an authenticator that gives a Deferred or a coroutine; whatever it raises itself goes on.
    """
    try:
        actor = authenticate(request)
        if type(actor) is not Actor and isinstance(actor, Coroutine):
            actor = Deferred.fromCoroutine(actor)
        if isinstance(actor, Deferred):
            actor = await wait(cast("Deferred[Actor | None]", actor))
    except AIBridgeError:
        raise
    except Exception as error:  # a host's own authenticator may raise anything
        _log.failure("an authenticator failed")
        raise GatewayError("Authentication failed in the gateway; its log says why.") from error
    if actor is None:
        raise Unauthorized("Authentication failed: the gateway's credential is missing or wrong.")
    if not isinstance(actor, Actor) or not isinstance(actor.id, str) or not actor.id:
        kind = f"an Actor with the id {actor.id!r}" if isinstance(actor, Actor) else f"a value of {type(actor)}"
        _log.error("an authenticator returned {kind}: it has to be an Actor whose id is a string, or None", kind=kind)
        raise GatewayError("Authentication failed in the gateway; its log says why.")
    return actor
