"""Mode ``keys``: the gateway issues keys of its own."""

from collections.abc import Mapping, Sequence
from functools import partial
from hmac import compare_digest
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.web.iweb import IRequest
from zope.interface import implementer

from ..errors import Unauthorized
from ..interfaces import Actor, IAuthenticator, IRevocable
from ..record.values import utc_now
from .credentials import hint, is_gateway_credential, pop_gateway_credential
from .key_store import GRACE, KeyCache, KeyStore, StoredKey, digest, is_key


@implementer(IAuthenticator, IRevocable)
class KeyAuthenticator:
    """Identifies actors by the keys that ``aibridge keys create`` makes, in the database of that URL.

    A key that is revoked there is refused within five seconds by every process. While the database is away, a key that
    was valid stays so for `grace` seconds, and the response to other keys is 503.
    """

    def __init__(self, url: str, *, reactor: Any, grace: float = GRACE) -> None:
        store = KeyStore(url)

        def find(hashes: Sequence[str]) -> "Deferred[Mapping[str, StoredKey]]":
            # The reactor's pool has no threads before it runs, as a process that is yet to fork requires.
            return deferToThreadPool(reactor, reactor.getThreadPool(), partial(store.find, hashes))

        self._keys = KeyCache(find, reactor, grace)

    def authenticate(self, request: IRequest) -> "Actor | Deferred[Actor | None] | None":
        """Return the actor of the key in the request's headers, and remove the key from them.

        Raise Unauthorized, or fail with it, for a key that is missing or not valid.
        """
        key = pop_gateway_credential(request.requestHeaders, is_gateway_credential)
        if key is None:
            raise Unauthorized("Missing gateway key. Send it as x-api-key, as bearer token or in X-AIBridge-Key.")
        if not is_key(key):
            raise Unauthorized("Unknown gateway key. It is not complete: a key is aib_ and 43 characters.")
        hashed = digest(key)
        found = self._keys.find(hashed)
        if isinstance(found, Deferred):
            return found.addCallback(self._actor_of, key, hashed)
        return self._actor_of(found, key, hashed)

    def check(self) -> "Deferred[str]":
        """Fire with a word on the keys' database. Fail with `Unavailable` if no key at all can be looked up now."""
        return self._keys.check()

    def _actor_of(self, stored: StoredKey | None, key: bytes, hashed: str) -> Actor:
        if stored is None or not compare_digest(stored.hash, hashed):
            raise Unauthorized(
                "Unknown gateway key. Check it, or ask the gateway's administrator for a key.",
                reason=f"there is no key {hint(key)}",
            )
        if stored.console_role is not None:
            raise Unauthorized(
                "This key opens the console, not the gateway. Ask the gateway's administrator for a gateway key.",
                reason=f"key {stored.id} of {stored.actor} is for the console",
            )
        if end := stored.ended(utc_now()):
            raise Unauthorized(
                f"Gateway key {end}. Ask the gateway's administrator for a new one.",
                reason=f"key {stored.id} of {stored.actor} is {end}",
            )
        return Actor(stored.actor, stored.metadata)
