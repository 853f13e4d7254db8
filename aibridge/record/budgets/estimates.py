"""The amounts that requests reserve before their cost is known."""

from collections.abc import Callable
from uuid import UUID

from attrs import frozen

from ...caches import LRUCache

_MOST_KEPT = 10_000
"""Pairs of an actor and a model, and exchanges under way."""


@frozen
class Estimate:
    """The facts of a request that bound its cost."""

    most: int | None
    """The nanodollars that it can cost at most; None where there is no bound, or no price."""
    is_priced: bool
    """True if the model that was asked for has a price."""


UNKNOWN = Estimate(None, True)
"""The estimate of a request of which nothing was asked, as no cap was known when it came."""


class Estimates:
    """The latest costs of each actor and model. Use it on the database's thread, but for `add` and `discard`."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._estimates: dict[UUID, Estimate] = {}
        self._last: LRUCache[tuple[str, str], int] = LRUCache(_MOST_KEPT)
        self._so_far: LRUCache[UUID, int] = LRUCache(_MOST_KEPT)

    def add(self, interception_id: UUID, estimate: Estimate) -> None:
        """Keep the estimate of a request until it is discarded."""
        if len(self._estimates) >= _MOST_KEPT:
            self._estimates.clear()  # those of requests that could not be recorded
        self._estimates[interception_id] = estimate

    def discard(self, interception_id: UUID) -> None:
        """Forget the estimate of a request."""
        self._estimates.pop(interception_id, None)

    def find(self, interception_id: UUID) -> Estimate:
        """Return the estimate of a request."""
        return self._estimates.get(interception_id, UNKNOWN)

    def reservation(
        self, interception_id: UUID, actor: str, model: str, look_up: Callable[[], int | None] | None = None
    ) -> int:
        """Return the nanodollars that a request reserves: what the actor's last one to that model cost.

        `look_up` finds that where it is not known here.
        """
        last = self._last.get((actor, model))
        if last is None and look_up is not None:
            last = look_up() or 0
            self._last.set((actor, model), last)
        amount, most = max(self._least, last or 0), self.find(interception_id).most
        return amount if most is None else min(amount, most)

    def add_cost(self, interception_id: UUID, actor: str, model: str, cost: int, *, is_over: bool) -> None:
        """Take note of a further cost of a request, and of its end."""
        total = (self._so_far.get(interception_id) or 0) + cost
        if not is_over:
            self._so_far.set(interception_id, total)
            return
        self._so_far.pop(interception_id)
        if total > 0:
            self._last.set((actor, model), total)
