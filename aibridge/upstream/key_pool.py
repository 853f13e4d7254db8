"""A pool of keys for one provider: each conversation keeps its key, and a key that is refused cools down for a while.

Prompt caches and stored responses belong to the organisation of a key, so a conversation changes its key only if that
is refused. All times are in seconds.
"""

from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from functools import partial
from hashlib import blake2b
from math import ceil
from time import time

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from ..caches import LRUCache
from ..identity.credentials import Credential
from ..interfaces import IProvider, IProviderPolicy
from ..metrics import Metrics
from ..record.records import CENTRALIZED

COOLING = {401: "unauthorized", 429: "rate_limited"}
"""The statuses that cool a key, with the reason's name in metrics. 403 speaks of a request, not of its key."""

_log = Logger()
_REJECTED = 600.0
_SHORTEST_PAUSE = 1.0
_FIRST_PAUSE = 30.0
_LONGEST_PAUSE = 600.0
_LONGEST_TOLD = 86400.0
"""The longest pause that a provider can ask for: no key is lost for ever."""
_MAX_CONVERSATIONS = 50_000

Conversation = tuple[str, str | None]
"""An actor's id, and the client's own id of the conversation, if it names one."""


@frozen
class Refusal:
    """A provider's error as it came, which later requests get while no key serves."""

    code: int
    phrase: bytes
    headers: Headers
    body: bytes = field(repr=False)


@define(eq=False)
class PooledKey:
    """A key of a pool."""

    credential: Credential
    label: str
    """The name in metrics: the key's hint."""
    seed: bytes = field(repr=False)
    """A digest of the key, from which its rank for a conversation is made."""
    warm_at: float = 0.0
    """The time from which on the key may be used again."""
    pause: float = _FIRST_PAUSE
    """The length of the next pause, if the provider names none."""
    refusal: Refusal | None = None
    """The refusal that cooled the key last."""

    def rank(self, conversation: bytes) -> bytes:
        """Return the key's rank for a conversation: the same in every process, and for any order of the keys."""
        return blake2b(self.seed + conversation, digest_size=8).digest()


class KeyPool:
    """The keys of one provider, and which of them each conversation uses."""

    def __init__(self, provider: str, credentials: Sequence[Credential], metrics: Metrics, clock: IReactorTime) -> None:
        self.now = clock.seconds
        self._provider = provider
        self._cooldowns = metrics.key_cooldowns
        self._moved: LRUCache[Conversation, PooledKey] = LRUCache(_MAX_CONVERSATIONS)
        """The conversations whose first key was refused, with the key that they use since."""
        self._last_limit: Refusal | None = None
        """The last 429 of any key."""
        self.keys: list[PooledKey] = []
        for number, credential in enumerate(credentials, 1):
            taken = {key.label for key in self.keys}
            hint = credential.hint or f"key {number}"
            label = hint if hint not in taken else f"{hint} ({number})"
            secret = b"\0".join(value for _, value in credential.headers)
            key = PooledKey(credential, label, blake2b(secret).digest())
            metrics.key_state.labels(provider, label).set_function(partial(self.is_warm, key))
            self.keys.append(key)

    def is_warm(self, key: PooledKey) -> bool:
        """Return True if the key may be used now."""
        return key.warm_at <= self.now()

    @property
    def any_warm(self) -> bool:
        """True if a key may be used now."""
        return any(map(self.is_warm, self.keys))

    def choose(self, conversation: Conversation) -> PooledKey:
        """Return the conversation's key; while that is cold, the next warm one, which it keeps from then on.

        If all are cold, this is the key that is warm first.
        """
        key = self.present(conversation)
        if self.is_warm(key):
            return key
        warm = next(filter(self.is_warm, self._ranked(conversation)), None)
        if warm is None:
            return min(self.keys, key=lambda each: each.warm_at)
        self._moved.set(conversation, warm)
        return warm

    def present(self, conversation: Conversation) -> PooledKey:
        """Return the key that the conversation has used last, or will use first. It may be cold."""
        return self._moved.get(conversation) or self._ranked(conversation)[0]

    def _ranked(self, conversation: Conversation) -> list[PooledKey]:
        named = "\0".join(filter(None, conversation)).encode("utf-8", "surrogatepass")
        return sorted(self.keys, key=lambda each: each.rank(named))

    def assign(
        self, credential: Credential, conversation: Conversation, pinned: bool, hint: str | None = None
    ) -> Credential:
        """Return the credential for a request: a client's own as it is, or else that of the conversation's key.

        If the request is `pinned`, that key may be cold: no other one can serve it. `hint` is that of the key for which
        the provider keeps what the request goes on from, if it is known.
        """
        if credential.kind != CENTRALIZED:
            return credential
        owning = self.find_hinted(hint) if hint is not None else None
        key = owning or (self.present(conversation) if pinned else self.choose(conversation))
        return key.credential

    def find(self, credential: Credential | None) -> PooledKey | None:
        """Return the key of a credential; None for one that is not of this pool, such as a client's own."""
        return next((key for key in self.keys if key.credential is credential), None)

    def find_hinted(self, hint: str | None) -> PooledKey | None:
        """Return the key with this hint, as records have it; None if there is none, or more than one."""
        found = [key for key in self.keys if key.credential.hint == hint]
        return found[0] if len(found) == 1 else None

    def served(self, key: PooledKey) -> None:
        """Take note that the provider accepted the key."""
        key.pause = _FIRST_PAUSE

    def cool(self, key: PooledKey, response: IResponse, body: bytes) -> None:
        """Let a key rest that was refused with this response. `body` is the beginning of the response's body."""
        told = _retry_after(response.headers) if response.code == 429 else _REJECTED
        if told is not None:
            pause = min(max(told, _SHORTEST_PAUSE), _LONGEST_TOLD)
        else:
            pause = key.pause
            key.pause = min(2 * key.pause, _LONGEST_PAUSE)
        key.warm_at = max(key.warm_at, self.now() + pause)
        key.refusal = Refusal(response.code, response.phrase, response.headers.copy(), body)
        if response.code == 429:
            self._last_limit = key.refusal
        reason = COOLING[response.code]
        self._cooldowns.labels(self._provider, key.label, reason).inc()
        _log.warn(
            "{provider}: the key {hint} rests for {seconds:.0f} s: {reason} (HTTP {code})",
            provider=self._provider,
            hint=key.label,
            seconds=pause,
            reason=reason,
            code=response.code,
        )

    def wait(self, key: PooledKey, pinned: bool) -> tuple[Refusal, int]:
        """Return the refusal for a request whose key is cold, and the whole seconds until another try makes sense.

        That is the key's own refusal if the request is pinned to it, or else the last 429 of all keys.
        """
        assert key.refusal is not None  # it made the key cold
        if pinned:
            refusal, warm_at = key.refusal, key.warm_at
        else:
            refusal, warm_at = self._last_limit or key.refusal, min(each.warm_at for each in self.keys)
        return refusal, max(1, ceil(warm_at - self.now()))

    def report(self) -> list[dict[str, object]]:
        """Return the keys that are cold, as JSON values for operators."""
        now = self.now()
        return [
            {"key": key.label, "state": "cooling", "seconds": round(key.warm_at - now)}
            for key in self.keys
            if key.warm_at > now
        ]


def make_pool(
    provider: IProvider, metrics: Metrics, clock: IReactorTime, before: KeyPool | None = None
) -> KeyPool | None:
    """Return the pool of a provider's keys; None for a provider with one key at most.

    That is the pool from before a change of settings, if the keys are still the same.
    """
    policy = IProviderPolicy(provider, None)
    if policy is None or len(policy.pooled_credentials) < 2:
        return None
    credentials = [*policy.pooled_credentials]
    if before is not None and [key.credential for key in before.keys] == credentials:
        return before
    return KeyPool(provider.name, credentials, metrics, clock)


def _retry_after(headers: Headers) -> float | None:
    """Return the seconds of a Retry-After header, which may hold a date; None if there is none that makes sense.

    https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
    """
    for value in headers.getRawHeaders(b"retry-after", ()):
        text = value.decode("latin-1").strip()
        try:
            seconds = float(text) if text[:1].isdigit() else parsedate_to_datetime(text).timestamp() - time()
        except ValueError:
            continue
        return max(0.0, seconds)
    return None
