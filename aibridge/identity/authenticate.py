"""Turning what a host gives, an authenticator or a plain function, into one way of asking."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import Factory, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.iweb import IRequest
from zope.interface import implementer

from ..errors import GatewayError, Unauthorized
from ..interfaces import IAuthenticator


@frozen
class Actor:
    """The person or program on whose behalf a request is made: an id, and what else is known of it."""

    id: str
    metadata: Mapping[str, Any] = Factory(dict)


Authenticate = Callable[[Any], "Actor | Deferred[Actor | None] | Awaitable[Actor | None] | None"]

_log = Logger()
_ANONYMOUS = Actor("anonymous")


@implementer(IAuthenticator)
class Anyone:
    """Mode ``none``: everyone is ``anonymous``."""

    def authenticate(self, request: IRequest) -> Actor:
        """The one actor there is."""
        return _ANONYMOUS


def as_function(given: Authenticate | IAuthenticator | None) -> Authenticate:
    """The function to ask. A bridge without an authenticator lets anyone in."""
    if given is None:
        return Anyone().authenticate
    if IAuthenticator.providedBy(given):
        return given.authenticate
    return given


async def identify(authenticate: Authenticate, request: IRequest) -> Actor:
    """The request's actor. Unauthorized where there is none, GatewayError where that can't be found out."""
    try:
        actor = authenticate(request)
        if type(actor) is not Actor and isinstance(actor, Awaitable):
            actor = await actor
    except GatewayError:
        raise
    except Exception as error:  # whatever a host's own may raise
        _log.failure("an authenticator failed")
        raise GatewayError("The gateway failed to find out who is asking; its log says why.") from error
    if actor is None:
        raise Unauthorized("The gateway does not know who is asking: its credential is missing or wrong.")
    return actor
