"""Authentication in general: actors, and the ways to find a request's actor."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.iweb import IRequest

from ..errors import AIBridgeError, GatewayError, Unauthorized
from ..interfaces import Actor, IAuthenticator

_log = Logger()


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
