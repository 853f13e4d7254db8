"""The metrics of all workers, added up."""

from collections.abc import Iterable, Iterator, Mapping

from attrs import Factory, evolve, frozen
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

Snapshot = list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]
"""Name, type and documentation of each metric, with its samples: name, labels and value."""

_HIGHEST = {"budget_used_ratio", "circuit_breaker_state"}
_LOWEST = {"process_start_time_seconds"}
_COUNTED = ("counter", "histogram")
"""The types of metrics that stay when their process ends."""


def take_snapshot(registry: CollectorRegistry) -> Snapshot:
    """Return all metrics as they are now."""
    return [
        (
            family.name,
            family.type,
            family.documentation,
            [(each.name, each.labels, each.value) for each in family.samples],
        )
        for family in registry.collect()
    ]


@frozen(eq=False)
class _Family(Collector):
    """A metric, added up so far."""

    name: str
    type: str
    documentation: str
    values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = Factory(dict)
    """By the sample's name and its labels."""

    def add(self, samples: Iterable[tuple[str, Mapping[str, str], float]]) -> None:
        """Add samples of another process."""
        for name, labels, value in samples:
            key = (name, tuple(sorted(labels.items())))
            before = self.values.get(key)
            self.values[key] = value if before is None else self._together(name, before, value)

    def _together(self, sample: str, one: float, other: float) -> float:
        if self.name in _HIGHEST:
            return max(one, other)
        if self.name in _LOWEST or (self.type != "gauge" and sample.endswith("_created")):
            return min(one, other)
        return one + other

    def collect(self) -> Iterator[Metric]:
        """Return the sums, for a scrape."""
        metric = Metric(self.name, self.documentation, self.type)
        for (name, labels), value in self.values.items():
            metric.add_sample(name, dict(labels), value)
        yield metric


class MetricSums:
    """Sums over all workers, and over those that have ended: a counter never falls."""

    def __init__(self) -> None:
        self._ended: dict[str, _Family] = {}
        self._latest: dict[int, Snapshot] = {}

    def update(self, worker: int, snapshot: Snapshot) -> None:
        """Take the present metrics of a worker in place of its earlier ones."""
        self._latest[worker] = snapshot

    def end(self, worker: int) -> None:
        """Keep what a worker has counted; its process has ended, and the next one counts from 0."""
        snapshot = self._latest.pop(worker, [])
        _add(self._ended, [family for family in snapshot if family[1] in _COUNTED])

    def with_own(self, registry: CollectorRegistry) -> CollectorRegistry:
        """Return a registry with the sums, to which this process adds its own metrics."""
        sums: dict[str, _Family] = {}
        for family in self._ended.values():
            sums[family.name] = evolve(family, values=dict(family.values))
        for snapshot in (take_snapshot(registry), *self._latest.values()):
            _add(sums, snapshot)
        summed = CollectorRegistry()
        for family in sums.values():
            summed.register(family)
        return summed


def _add(sums: dict[str, _Family], snapshot: Snapshot) -> None:
    for name, kind, documentation, samples in snapshot:
        sums.setdefault(name, _Family(name, kind, documentation)).add(samples)
