"""Turning what a host gives, an authenticator or a plain function, into one way of asking."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from attrs import Factory, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.iweb import IRequest
from zope.interface import implementer

from ..errors import AIBridgeError, GatewayError, Unauthorized
from ..interfaces import IAuthenticator


@frozen
class Actor:
    """The person or program on whose behalf a request is made: an id, and what else is known of it."""

    id: str
    metadata: Mapping[str, Any] = Factory(dict)


Authenticate = Callable[[Any], "Actor | Deferred[Actor | None] | Coroutine[Any, Any, Actor | None] | None"]

_log = Logger()
ANONYMOUS = Actor("anonymous")


@implementer(IAuthenticator)
class Anyone:
    """Mode ``none``: everyone is ``anonymous``."""

    def authenticate(self, request: IRequest) -> Actor:
        """The one actor there is."""
        return ANONYMOUS


def as_function(given: Authenticate | IAuthenticator | None) -> Authenticate:
    """The function to ask. A bridge without an authenticator lets anyone in."""
    if given is None:
        return Anyone().authenticate
    if IAuthenticator.providedBy(given):
        return given.authenticate
    return given


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
