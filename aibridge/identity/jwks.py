"""The public keys of an issuer of tokens, fetched from a file or a URL, and the algorithms that each may be used with.

A JSON Web Key Set: https://www.rfc-editor.org/rfc/rfc7517. The gateway decides which algorithm fits which key, never a
token: https://www.rfc-editor.org/rfc/rfc8725#section-3.1. No algorithm is symmetric, and ``none`` is none of them.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
from attrs import field, frozen
from jwt import PyJWK
from jwt.exceptions import PyJWTError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from ..errors import Unavailable
from ..http.agent import UpstreamAgent

# Keys

_ALGORITHMS = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
_PUBLIC_MEMBERS = ("kty", "n", "e", "crv", "x", "y")
_SHORTEST_RSA = 2048

ALGORITHMS = frozenset(name for names in _ALGORITHMS.values() for name in names)
"""The algorithms of accepted signatures."""


@frozen
class VerifyingKey:
    """A public key, and the algorithms whose signatures it can verify."""

    kid: str | None
    algorithms: tuple[str, ...]
    key: Any = field(repr=False)


def read_keys(document: bytes) -> tuple[VerifyingKey, ...]:
    """Return the keys of a key set that verify signatures. Raise ValueError if there are none."""
    key_set = orjson.loads(document)
    entries = key_set.get("keys") if isinstance(key_set, dict) else None
    if not isinstance(entries, list):
        raise ValueError("must be a JSON Web Key Set")
    keys = tuple(key for entry in entries if (key := _read_key(entry)))
    if not keys:
        raise ValueError("must contain a key that verifies signatures")
    return keys


def _read_key(entry: Any) -> VerifyingKey | None:
    """Return None for a key of another use or an unknown kind: the others of its set may still be good."""
    algorithms = _algorithms(entry) if isinstance(entry, dict) else ()
    if not algorithms:
        return None
    try:
        key = PyJWK({name: entry[name] for name in _PUBLIC_MEMBERS if name in entry}, algorithms[0]).key
    except (PyJWTError, ValueError, TypeError):
        return None
    if entry["kty"] == "RSA" and key.key_size < _SHORTEST_RSA:
        return None
    kid = entry.get("kid")
    return VerifyingKey(kid if isinstance(kid, str) else None, algorithms, key)


def _algorithms(entry: dict[str, Any]) -> tuple[str, ...]:
    """Return the algorithms that the key's kind has and its own entry allows."""
    kind, curve, operations = entry.get("kty"), entry.get("crv"), entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return ()
    if not isinstance(kind, str) or not isinstance(curve, str | None):
        return ()
    names = _ALGORITHMS.get((kind, curve), ())
    return tuple(name for name in names if entry.get("alg", name) == name)


def find_key(keys: Sequence[VerifyingKey], algorithm: str, kid: str | None) -> VerifyingKey | None:
    """Return the key of a token with that algorithm and key id. A token without an id needs a single possible key."""
    able = [key for key in keys if algorithm in key.algorithms]
    if kid is None:
        return able[0] if len(able) == 1 else None
    return next((key for key in able if key.kid == kid), None)


# Fetching them

Fetch = Callable[[], "Deferred[bytes]"]
"""Fetches the document of a key set."""

_CONNECT_TIMEOUT = 5.0
_FETCH_TIMEOUT = 10.0
_MOST_BYTES = 1 << 20


def from_file(path: str, reactor: Any) -> Fetch:
    """Return a function that reads the file anew each time, so that it can be replaced."""
    return lambda: deferToThreadPool(reactor, reactor.getThreadPool(), Path(path).read_bytes)


def from_url(url: str, reactor: Any) -> Fetch:
    """Return a function that requests the URL anew each time, for at most ten seconds and a mebibyte."""

    async def get() -> bytes:
        agent = UpstreamAgent(reactor, connect_timeout=_CONNECT_TIMEOUT)
        try:
            response = await agent.request(b"GET", url.encode("ascii"), Headers({b"Accept": [b"application/json"]}))
            body = _BoundedBody()
            response.deliverBody(body)
            document = await body.whole
        finally:
            agent.close()
        if response.code != 200:
            raise ValueError(f"the issuer's response has status {response.code}")
        return document

    return lambda: Deferred.fromCoroutine(get()).addTimeout(_FETCH_TIMEOUT, reactor)


class _BoundedBody(Protocol):
    """Collects a response's body, up to a limit. The connection is closed however that ends."""

    transport: Any

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self.transport.stopProducing())
        self._received = BytesIO()

    def dataReceived(self, data: bytes) -> None:
        self._received.write(data)
        if self._received.tell() > _MOST_BYTES and not self.whole.called:
            self.whole.errback(ValueError(f"the issuer's response is over {_MOST_BYTES} bytes"))
            self.transport.stopProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.whole.called:
            whole = reason.check(ResponseDone, PotentialDataLoss)
            self.whole.callback(self._received.getvalue() if whole else reason)


# Keeping them

_REFRESHED_AFTER = 300.0
_KEPT_FOR = 24 * 3600.0
_BETWEEN_TRIES = 5.0
_NEVER = float("-inf")
_log = Logger()


class Keyring:
    """An issuer's keys. They are fetched again after five minutes; while that fails, they stay good for a day."""

    def __init__(self, fetch: Fetch, clock: IReactorTime) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: tuple[VerifyingKey, ...] = ()
        self._fetched_at = _NEVER
        self._tried_at = _NEVER
        self._waiting: list[Deferred[None]] = []

    async def check(self) -> str:
        """Return a word on the keys. Raise Unavailable if there are none that may be used."""
        if self._age > _KEPT_FOR:
            await self._refresh()
            if self._age > _KEPT_FOR:
                raise Unavailable("The issuer's keys can't be fetched now. Try again in a moment.")
        return "the issuer's keys are known"

    async def find(self, algorithm: str, kid: str | None) -> VerifyingKey | None:
        """Return a token's key, None if the issuer has no such key. Raise Unavailable if that is not known."""
        await self.check()
        if self._age > _REFRESHED_AFTER:
            self._refresh()
        key = find_key(self._keys, algorithm, kid)
        if key is None and self._may_fetch:
            await self._refresh()
            key = find_key(self._keys, algorithm, kid)
        if key is None and self._tried_at > self._fetched_at:
            raise Unavailable("The key of this token is unknown, and newer keys can't be fetched. Try again later.")
        return key

    @property
    def _age(self) -> float:
        return self._clock.seconds() - self._fetched_at

    @property
    def _may_fetch(self) -> bool:
        """True if a fetch runs or may begin: tokens with made-up key ids must not flood the issuer with requests."""
        return bool(self._waiting) or self._clock.seconds() - self._tried_at >= _BETWEEN_TRIES

    def _refresh(self) -> "Deferred[None]":
        """Return a Deferred that fires once the keys are as new as possible. All who wait share one fetch."""
        refreshed: Deferred[None] = Deferred()
        if not self._may_fetch:
            refreshed.callback(None)
            return refreshed
        self._waiting.append(refreshed)
        if len(self._waiting) == 1:
            Deferred.fromCoroutine(self._fetch_keys())
        return refreshed

    async def _fetch_keys(self) -> None:
        self._tried_at = self._clock.seconds()
        try:
            self._keys = read_keys(await self._fetch())
            self._fetched_at = self._tried_at
        except Exception as error:  # whatever a file, a server or its document may raise
            _log.error("the issuer's keys were not fetched: {why}", why=str(error) or type(error).__name__)
        waiting, self._waiting = self._waiting, []
        for refreshed in waiting:
            refreshed.callback(None)
