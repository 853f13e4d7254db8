"""An issuer's keys, held: fetched when first needed, again as they age, and when a token names one that is not there.

All times in seconds.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import Unavailable
from .jwks import VerifyingKey, fitting, read_keys

Fetch = Callable[[], "Deferred[bytes]"]
"""Gets the document that says which keys there are."""

_REFRESHED_AFTER = 300.0
_KEPT_FOR = 24 * 3600.0
_BETWEEN_TRIES = 5.0
_NEVER = float("-inf")
_log = Logger()


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
