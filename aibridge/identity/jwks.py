"""The keys of an issuer of tokens, and what each of them may be used for.

A JSON Web Key Set: https://www.rfc-editor.org/rfc/rfc7517. Which algorithm fits which key is said here, never by a
token: https://www.rfc-editor.org/rfc/rfc8725#section-3.1. There is no symmetric algorithm among them, and no ``none``.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
from attrs import field, frozen
from jwt import PyJWK
from jwt.exceptions import PyJWTError
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http import PotentialDataLoss

from ..errors import Unavailable

Fetch = Callable[[], "Deferred[bytes]"]
"""Gets the document that says which keys there are."""

_REFRESHED_AFTER = 300.0
_KEPT_FOR = 24 * 3600.0
_BETWEEN_TRIES = 5.0
_NEVER = float("-inf")
_log = Logger()


_SECONDS_TO_CONNECT = 5.0
_SECONDS_IN_ALL = 10.0
_MOST_BYTES = 1 << 20


def from_file(path: str, reactor: Any) -> Fetch:
    """Reads that file each time, so that it can be replaced."""
    return lambda: deferToThreadPool(reactor, reactor.getThreadPool(), Path(path).read_bytes)


def from_url(url: str, reactor: Any) -> Fetch:
    """Asks there each time; it waits ten seconds and takes a mebibyte at most."""

    def fetch() -> "Deferred[bytes]":
        return Deferred.fromCoroutine(_get(url, reactor)).addTimeout(_SECONDS_IN_ALL, reactor)

    return fetch


async def _get(url: str, reactor: Any) -> bytes:
    client = HTTPClient(Agent(reactor, connectTimeout=_SECONDS_TO_CONNECT))
    response = await client.get(url, allow_redirects=False, unbuffered=True)
    body = _Body()
    response.deliverBody(body)
    document = await body.whole
    if response.code != 200:
        raise ValueError(f"the issuer answered {response.code}")
    return document


class _Body(Protocol):
    """Takes an answer as long as it is small. Its connection ends with it, whoever ends it."""

    transport: Any

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self.transport.stopProducing())
        self._received = BytesIO()

    def dataReceived(self, data: bytes) -> None:
        self._received.write(data)
        if self._received.tell() > _MOST_BYTES and not self.whole.called:
            self.whole.errback(ValueError(f"the issuer's answer is over {_MOST_BYTES} bytes"))
            self.transport.stopProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.whole.called:
            whole = reason.check(ResponseDone, PotentialDataLoss)
            self.whole.callback(self._received.getvalue() if whole else reason)


_ALGORITHMS = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
_PUBLIC = ("kty", "n", "e", "crv", "x", "y")
_SHORTEST_RSA = 2048

ALGORITHMS = frozenset(name for names in _ALGORITHMS.values() for name in names)
"""All that a token may be signed with."""


@frozen
class VerifyingKey:
    """A public key, and the algorithms whose signatures it can check."""

    kid: str | None
    algorithms: tuple[str, ...]
    key: Any = field(repr=False)


class Keyring:
    """Keys that were fetched stay good for a day while they can't be fetched again."""

    def __init__(self, fetch: Fetch, clock: IReactorTime) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: tuple[VerifyingKey, ...] = ()
        self._fetched_at = _NEVER
        self._tried_at = _NEVER
        self._waiting: list[Deferred[None]] = []

    async def find(self, algorithm: str, kid: str | None) -> VerifyingKey | None:
        """The key for such a token, None where the issuer has no such key. Unavailable where that isn't known."""
        if self._age > _KEPT_FOR:
            await self._refresh()
            if self._age > _KEPT_FOR:
                raise Unavailable("The gateway can't get the keys that tokens are checked with.")
        elif self._age > _REFRESHED_AFTER:
            self._refresh()
        key = fitting(self._keys, algorithm, kid)
        if key is None and self._may_try:
            await self._refresh()
            key = fitting(self._keys, algorithm, kid)
        if key is None and self._tried_at > self._fetched_at:
            raise Unavailable("The gateway does not have the key of this token, and can't get newer ones.")
        return key

    @property
    def _age(self) -> float:
        return self._clock.seconds() - self._fetched_at

    @property
    def _may_try(self) -> bool:
        """Whether it is worth waiting: whoever makes up names must not make the gateway besiege the issuer."""
        return bool(self._waiting) or self._clock.seconds() - self._tried_at >= _BETWEEN_TRIES

    def _refresh(self) -> "Deferred[None]":
        """Fires when the keys are as new as can be. One fetch serves all who wait for it."""
        refreshed: Deferred[None] = Deferred()
        if not self._may_try:
            refreshed.callback(None)
            return refreshed
        self._waiting.append(refreshed)
        if len(self._waiting) == 1:
            self._tried_at = self._clock.seconds()
            self._fetch().addCallback(self._keep).addErrback(self._failed).addBoth(self._tell)
        return refreshed

    def _keep(self, document: bytes) -> None:
        self._keys = read_keys(document)
        self._fetched_at = self._tried_at

    def _failed(self, failure: Failure) -> None:
        why = str(failure.value) or type(failure.value).__name__
        _log.error("the keys that tokens are checked with were not fetched: {why}", why=why)

    def _tell(self, _: object) -> None:
        waiting, self._waiting = self._waiting, []
        for refreshed in waiting:
            refreshed.callback(None)


def read_keys(document: bytes) -> tuple[VerifyingKey, ...]:
    """The keys of a set that are good for checking signatures. ValueError where there is none."""
    told = orjson.loads(document)
    entries = told.get("keys") if isinstance(told, dict) else None
    if not isinstance(entries, list):
        raise ValueError("is no JSON Web Key Set")
    keys = tuple(key for entry in entries if (key := _read_key(entry)))
    if not keys:
        raise ValueError("holds no key that the signature of a token can be checked with")
    return keys


def fitting(keys: Sequence[VerifyingKey], algorithm: str, kid: str | None) -> VerifyingKey | None:
    """The key that such a token must be signed with; without a name only one that can't be confused with another."""
    able = [key for key in keys if algorithm in key.algorithms]
    if kid is None:
        return able[0] if len(able) == 1 else None
    return next((key for key in able if key.kid == kid), None)


def _read_key(entry: Any) -> VerifyingKey | None:
    """None where it is for something else, or of a kind that is not known here: the others may still be good."""
    algorithms = _algorithms(entry) if isinstance(entry, dict) else ()
    if not algorithms:
        return None
    try:
        key = PyJWK({name: entry[name] for name in _PUBLIC if name in entry}, algorithms[0]).key
    except (PyJWTError, ValueError, TypeError):
        return None
    if entry["kty"] == "RSA" and key.key_size < _SHORTEST_RSA:
        return None
    kid = entry.get("kid")
    return VerifyingKey(kid if isinstance(kid, str) else None, algorithms, key)


def _algorithms(entry: dict[str, Any]) -> tuple[str, ...]:
    """What its kind can do and its own entry allows."""
    kind, curve, operations = entry.get("kty"), entry.get("crv"), entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return ()
    if not isinstance(kind, str) or not isinstance(curve, str | None):
        return ()
    able = _ALGORITHMS.get((kind, curve), ())
    return tuple(name for name in able if entry.get("alg", name) == name)
