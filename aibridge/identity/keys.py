"""Mode ``keys``: the gateway gives out keys of its own."""

import re
from datetime import timedelta
from functools import partial
from hmac import compare_digest
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.web.iweb import IRequest
from zope.interface import implementer

from ..interfaces import IAuthenticator
from ..record.ledger import utc_now
from .authenticate import Actor
from .credentials import is_gateway_credential, pop_gateway_credential
from .key_store import GRACE, Find, KeyCache, KeyStore, StoredKey, digest, is_key

_DURATION = re.compile(r"([0-9]{1,9})([dhms])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_LONGEST = timedelta(days=100 * 365)
_NAME = re.compile(r"[A-Za-z0-9_-]+")


def duration(text: str) -> timedelta:
    """A time such as ``90d``, ``12h``, ``30m`` or ``45s``: more than nothing, and no more than a century."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError("not a time")
    count, unit = match.groups()
    time = timedelta(**{_UNITS[unit]: int(count)})
    if not timedelta(0) < time <= _LONGEST:
        raise ValueError("too short or too long")
    return time


def item(text: str) -> tuple[str, str]:
    """``name=value``; the name can be part of a header's name, for providers may be told of it."""
    name, equals, value = text.partition("=")
    if not equals or not _NAME.fullmatch(name) or not value.isprintable():
        raise ValueError("not a name and a value")
    return name, value


def actor_name(text: str) -> str:
    """Something to call an actor by."""
    name = text.strip()
    if not name or not name.isprintable():
        raise ValueError("not a name")
    return name


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
        presented = pop_gateway_credential(request.requestHeaders, is_gateway_credential)
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
