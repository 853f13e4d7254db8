"""Mode ``keys``: the gateway gives out keys of its own."""

from functools import partial
from hmac import compare_digest
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.web.iweb import IRequest
from zope.interface import implementer

from ..interfaces import IAuthenticator
from ..record.ledger import utc_now
from .actor import Actor
from .key_cache import GRACE, Find, KeyCache
from .key_store import KeyStore, StoredKey, digest, is_key
from .presented import holds_gateway_key, take


@implementer(IAuthenticator)
class KeyAuthenticator:
    """Knows actors by the keys that ``aibridge keys create`` makes, in the database of that URL.

    A key that is revoked there, in whichever process, is refused within five seconds. `grace`: for how many seconds a
    key that was good goes on while the database is away; others are answered 503 then.
    """

    def __init__(self, url: str, *, reactor: Any, grace: float = GRACE) -> None:
        self._keys = KeyCache(_in_thread(KeyStore(url), reactor), reactor, grace)

    def authenticate(self, request: IRequest) -> "Actor | Deferred[Actor | None] | None":
        """The actor whose key it is. The key is no longer among the request's headers then."""
        presented = take(request.requestHeaders, holds_gateway_key)
        if presented is None or not is_key(presented):
            return None
        hashed = digest(presented)
        found = self._keys.find(hashed)
        if isinstance(found, Deferred):
            return found.addCallback(_actor_of, hashed)
        return _actor_of(found, hashed)


def _actor_of(key: StoredKey | None, hashed: str) -> Actor | None:
    if key is None or not compare_digest(key.hash, hashed) or not key.opens_at(utc_now()):
        return None
    return Actor(key.actor, key.metadata)


def _in_thread(store: KeyStore, reactor: Any) -> Find:
    """The reactor's pool has no threads before it runs, which is what a process that is yet to fork needs."""
    return lambda hashes: deferToThreadPool(reactor, reactor.getThreadPool(), partial(store.find, hashes))
