"""Counters of what every request does: plain numbers, which Prometheus's client gets when it is asked for them.

Its own counters look at their labels and take a lock each time, which is a twentieth of a small request. Here one
thread counts. https://prometheus.github.io/client_python/collector/custom/
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any, Generic, Protocol, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Child(Protocol):
    """What is counted under one set of label values."""

    def add_to(self, family: Any, labels: Sequence[str]) -> None:
        """Hands the numbers over."""


C = TypeVar("C", bound=Child)


class Number:
    """A counter, or a gauge where it is decreased too."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = 0.0

    def inc(self, amount: float = 1) -> None:
        self._value += amount

    def dec(self) -> None:
        self._value -= 1

    def add_to(self, family: Any, labels: Sequence[str]) -> None:
        family.add_metric(labels, self._value)


class Spread:
    """A histogram with these upper bounds, and one without any above them."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: Any, labels: Sequence[str]) -> None:
        bounds = map(floatToGoString, [*self._bounds, float("inf")])
        family.add_metric(labels, [*zip(bounds, accumulate(self._counts), strict=True)], self._sum)


class Family(Collector, Generic[C]):
    """One metric: what is counted for each set of label values."""

    def __init__(
        self,
        registry: CollectorRegistry,
        kind: type[Metric],
        name: str,
        says: str,
        labels: Sequence[str],
        make: Callable[[], C],
    ) -> None:
        self._begin: Callable[[], Any] = lambda: kind(name, says, labels=labels)  # type: ignore[call-arg]
        self._make = make
        self._children: dict[tuple[str, ...], C] = {}
        registry.register(self)

    def labels(self, *values: str) -> C:
        """What is counted under these; from nothing, the first time."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._make()
        return child

    def describe(self) -> Iterable[Metric]:
        """Its name and labels, without anything counted."""
        return [self._begin()]

    def collect(self) -> Iterable[Metric]:
        """All that was counted."""
        family = self._begin()
        for values, child in self._children.items():
            child.add_to(family, values)
        return [family]


def counters(registry: CollectorRegistry, name: str, says: str, labels: Sequence[str]) -> Family[Number]:
    """A counter for each set of labels."""
    return Family(registry, CounterMetricFamily, name, says, labels, Number)


def gauges(registry: CollectorRegistry, name: str, says: str, labels: Sequence[str]) -> Family[Number]:
    """A gauge for each set of labels."""
    return Family(registry, GaugeMetricFamily, name, says, labels, Number)


def histograms(
    registry: CollectorRegistry, name: str, says: str, labels: Sequence[str], bounds: Sequence[float]
) -> Family[Spread]:
    """A histogram for each set of labels; `bounds` are the upper ones of its buckets."""
    return Family(registry, HistogramMetricFamily, name, says, labels, lambda: Spread(bounds))
