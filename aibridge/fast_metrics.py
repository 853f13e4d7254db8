"""Counters of what every request does: plain numbers, which prometheus-client gets when it is scraped.

The library's own counters look at their labels and take a lock each time, which is a twentieth of a small request. Here
the reactor's thread alone counts. https://prometheus.github.io/client_python/collector/custom/
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any, Generic, Protocol, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from .record.values import storable


class Child(Protocol):
    """The numbers of one set of label values."""

    def add_to(self, family: Any, labels: Sequence[str]) -> None:
        """Add the numbers to what Prometheus is sent."""


C = TypeVar("C", bound=Child)


class FastCounter:
    """A counter, or a gauge: its `value` is changed directly, since a method would cost more than counting."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add_to(self, family: Any, labels: Sequence[str]) -> None:
        """Add the number to what Prometheus is sent."""
        family.add_metric(labels, self.value)


class FastHistogram:
    """A histogram with these upper bounds, and a last bucket without a bound."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: Any, labels: Sequence[str]) -> None:
        """Add the buckets and the sum to what Prometheus is sent."""
        bounds = map(floatToGoString, [*self._bounds, float("inf")])
        family.add_metric(labels, [*zip(bounds, accumulate(self._counts), strict=True)], self._sum)


class Family(Collector, Generic[C]):
    """A metric: its numbers for each set of label values. `make` makes the numbers of a new set."""

    def __init__(
        self,
        registry: CollectorRegistry,
        kind: type[Metric],
        name: str,
        documentation: str,
        labels: Sequence[str],
        make: Callable[[], C],
    ) -> None:
        self._new_family: Callable[[], Any] = lambda: kind(name, documentation, labels=labels)  # type: ignore[call-arg]
        self._make = make
        self._children: dict[tuple[str, ...], C] = {}
        registry.register(self)

    def labels(self, *values: str) -> C:
        """Return the numbers of these label values. Lone surrogates, which clients can send, are escaped."""
        child = self._children.get(values)
        if child is None:
            values = tuple(map(storable, values))
            child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._make()
        return child

    def describe(self) -> Iterable[Metric]:
        """Return the metric's name and labels, for the registry's check of names."""
        return [self._new_family()]

    def collect(self) -> Iterable[Metric]:
        """Return all numbers, for a scrape."""
        family = self._new_family()
        for values, child in self._children.items():
            child.add_to(family, values)
        return [family]


def counters(registry: CollectorRegistry, name: str, documentation: str, *labels: str) -> Family[FastCounter]:
    """Return a counter for each set of label values."""
    return Family(registry, CounterMetricFamily, name, documentation, labels, FastCounter)


def gauges(registry: CollectorRegistry, name: str, documentation: str, *labels: str) -> Family[FastCounter]:
    """Return a gauge for each set of label values."""
    return Family(registry, GaugeMetricFamily, name, documentation, labels, FastCounter)


def histograms(
    registry: CollectorRegistry, name: str, documentation: str, bounds: Sequence[float], *labels: str
) -> Family[FastHistogram]:
    """Return a histogram for each set of label values; `bounds` are the upper ones of its buckets."""
    return Family(registry, HistogramMetricFamily, name, documentation, labels, lambda: FastHistogram(bounds))
