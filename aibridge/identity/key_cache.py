"""What is known of keys, so that not every request asks the database, and one that was revoked ends soon.

All times in seconds. What was found is believed for `_FRESH`; then it is looked up again, and for as long as that may
take, until `_STALE`, still believed. So a change is heeded within `_STALE`, and whoever asks all the time never waits.

While the database is away, keys that it is known to have had go on for `grace`; of others nothing can be said.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from attrs import frozen
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import Unavailable
from .bounded import Bounded
from .key_store import StoredKey

Find = Callable[[Sequence[str]], "Deferred[Mapping[str, StoredKey]]"]
"""Asks the database for the keys with these hashes."""

_Answers = set["Deferred[StoredKey | None]"]

GRACE = 4 * 3600.0

_FRESH = 2.0
_STALE = 4.0
_PATIENCE = 3.0
_AWAY_FOR = 5.0
_MOST_KEPT = 10_000
_MOST_AT_ONCE = 500
_log = Logger()


@frozen
class _Found:
    """A key, or that there was none, when the database was asked."""

    key: StoredKey | None
    asked_at: float


class KeyCache:
    """Finds keys by their hash. One query runs at a time, for all that were asked for since the one before."""

    def __init__(self, find: Find, clock: IReactorTime, grace: float = GRACE) -> None:
        self._find = find
        self._clock = clock
        self._grace = grace
        # Apart, so that nobody can drive out the true keys by making up others.
        self._known: Bounded[str, _Found] = Bounded(_MOST_KEPT)
        self._unknown: Bounded[str, _Found] = Bounded(_MOST_KEPT)
        self._waiting: dict[str, _Answers] = {}
        self._asked: dict[str, _Answers] = {}
        self._failed_at = float("-inf")

    def find(self, digest: str) -> "StoredKey | Deferred[StoredKey | None] | None":
        """The key with that hash, None where there is none. The Deferred fails with `Unavailable`."""
        found = self._known.get(digest) or self._unknown.get(digest)
        if found is None:
            return self._ask(digest)
        age = self._clock.seconds() - found.asked_at
        if age < _FRESH:
            return found.key
        if age < _STALE or (self._is_away and self._may_go_on(found)):
            self._ask_meanwhile(digest)
            return found.key
        return self._ask(digest).addErrback(self._go_on, found)

    @property
    def _is_away(self) -> bool:
        return self._clock.seconds() - self._failed_at < _AWAY_FOR

    def _may_go_on(self, found: _Found) -> bool:
        return found.key is not None and self._clock.seconds() - found.asked_at < self._grace

    def _go_on(self, failure: Failure, found: _Found) -> StoredKey | None:
        failure.trap(Unavailable)
        return found.key if self._may_go_on(found) else failure  # type: ignore[return-value]

    def _ask_meanwhile(self, digest: str) -> None:
        if digest not in self._asked and digest not in self._waiting:
            self._ask(digest).addErrback(lambda failure: failure.trap(Unavailable))

    def _ask(self, digest: str) -> "Deferred[StoredKey | None]":
        if len(self._waiting) >= _MOST_KEPT:
            return fail(Unavailable("The gateway has too many keys to look up."))
        asked = self._asked if digest in self._asked else self._waiting
        answers = asked.setdefault(digest, set())
        answer: Deferred[StoredKey | None] = Deferred(answers.discard)
        answers.add(answer)
        answer.addTimeout(_PATIENCE, self._clock).addErrback(self._failed)
        self._ask_next()
        return answer

    def _ask_next(self) -> None:
        if self._asked or not self._waiting:
            return
        self._asked = dict(islice(self._waiting.items(), _MOST_AT_ONCE))
        for digest in self._asked:
            del self._waiting[digest]
        now = self._clock.seconds()
        self._find([*self._asked]).addCallback(self._keep, now).addBoth(self._tell)

    def _keep(self, found: Mapping[str, StoredKey], asked_at: float) -> Mapping[str, StoredKey]:
        for digest in self._asked:
            known, other = (self._known, self._unknown) if digest in found else (self._unknown, self._known)
            known.put(digest, _Found(found.get(digest), asked_at))
            other.drop(digest)
        self._failed_at = float("-inf")
        return found

    def _tell(self, outcome: Mapping[str, StoredKey] | Failure) -> None:
        asked, self._asked = self._asked, {}
        for digest, answers in asked.items():
            for answer in answers:
                answer.callback(outcome if isinstance(outcome, Failure) else outcome.get(digest))
        self._ask_next()

    def _failed(self, failure: Failure) -> None:
        if not self._is_away:
            _log.error("keys can't be looked up: {why}", why=str(failure.value) or type(failure.value).__name__)
        self._failed_at = self._clock.seconds()
        raise Unavailable("The gateway can't look up its keys now.") from failure.value
