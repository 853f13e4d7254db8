"""What Prometheus sees. Names and labels are relied on by dashboards; a prefix is the registry's business.

https://prometheus.io/docs/practices/naming/
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from .caches import CachedDict


class Child(Protocol):
    """What is counted under one set of label values."""

    def add_to(self, family: Any, labels: Sequence[str]) -> None:
        """Hands the numbers over."""


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


def counters(registry: CollectorRegistry, name: str, says: str, labels: Sequence[str]) -> Family[FastCounter]:
    """A counter for each set of labels."""
    return Family(registry, CounterMetricFamily, name, says, labels, FastCounter)


def gauges(registry: CollectorRegistry, name: str, says: str, labels: Sequence[str]) -> Family[FastCounter]:
    """A gauge for each set of labels."""
    return Family(registry, GaugeMetricFamily, name, says, labels, FastCounter)


def histograms(
    registry: CollectorRegistry, name: str, says: str, labels: Sequence[str], bounds: Sequence[float]
) -> Family[FastHistogram]:
    """A histogram for each set of labels; `bounds` are the upper ones of its buckets."""
    return Family(registry, HistogramMetricFamily, name, says, labels, lambda: FastHistogram(bounds))


_OTHER = "other"
_MOST_VALUES = 200
_QUICK = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


class BoundedLabel:
    """Values of a label that clients can invent: the first `most` are told apart, the rest is ``other``."""

    def __init__(self, most: int = _MOST_VALUES) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        if value in self._known:
            return value
        if len(self._known) >= self._most:
            return _OTHER
        self._known.add(value)
        return value


class Subject(NamedTuple):
    """What an interception is counted under."""

    provider: str
    model: str
    route: str
    initiator_id: str
    client: str


class Series:
    """The time series of one subject, found once: looking one up by its labels costs more than counting."""

    def __init__(self, metrics: "Metrics", subject: Subject) -> None:
        where = (subject.provider, metrics.model(subject.model))
        who = (subject.initiator_id, subject.client)
        self.inflight = metrics.inflight.labels(*where, subject.route)
        self.duration = metrics.duration.labels(*where)
        self.overhead = metrics.overhead.labels(subject.provider)
        self.first_byte = metrics.first_byte.labels(*where)
        self.prompts = metrics.prompts.labels(*where, *who)
        self.interceptions = CachedDict[str, FastCounter](
            lambda status: metrics.interceptions.labels(*where, status, subject.route, "POST", *who)
        )
        self.tokens = CachedDict[str, FastCounter](lambda kind: metrics.tokens.labels(*where, kind, *who))
        self.client_tools = CachedDict[str, FastCounter](
            lambda name: metrics.client_tools.labels(*where, metrics.tool(name))
        )
        self.injected_tools = CachedDict[tuple[str, str], FastCounter](
            lambda tool: metrics.injected_tools.labels(*where, *tool)
        )


class Metrics:
    """All metrics of one gateway, in one registry."""

    def __init__(self, registry: CollectorRegistry, namespace: str = "") -> None:
        def counter(name: str, says: str, *labels: str) -> Counter:
            return Counter(name, says, labels, namespace=namespace, registry=registry)

        def gauge(name: str, says: str, *labels: str) -> Gauge:
            return Gauge(name, says, labels, namespace=namespace, registry=registry)

        def histogram(name: str, says: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, says, labels, namespace=namespace, registry=registry, buckets=buckets)

        def counted(name: str, says: str, *labels: str) -> Family[FastCounter]:
            return counters(registry, prefix + name, says, labels)

        def spread(name: str, says: str, buckets: tuple[float, ...], *labels: str) -> Family[FastHistogram]:
            return histograms(registry, prefix + name, says, labels, buckets)

        prefix = f"{namespace}_" if namespace else ""
        who = ("initiator_id", "client")
        self.registry = registry
        self.series: CachedDict[Subject, Series] = CachedDict(partial(Series, self))
        self.model = BoundedLabel()
        self.tool = BoundedLabel()
        self.method = BoundedLabel()
        self.interceptions = counted(
            "interceptions_total", "Interceptions that ended.", "provider", "model", "status", "route", "method", *who
        )
        self.inflight = gauges(
            registry, f"{prefix}interceptions_inflight", "Interceptions under way.", ("provider", "model", "route")
        )
        self.duration = spread(
            "interceptions_duration_seconds", "From a request to its end.", _SLOW, "provider", "model"
        )
        self.passthrough = counter("passthrough_total", "Requests passed through.", "provider", "route", "method")
        self.prompts = counted("prompts_total", "Users' prompts.", "provider", "model", *who)
        self.tokens = counted("tokens_total", "Tokens, by kind.", "provider", "model", "type", *who)
        self.client_tools = counted(
            "non_injected_tool_selections_total", "Calls of clients' own tools.", "provider", "model", "name"
        )
        self.injected_tools = counted(
            "injected_tool_invocations_total", "Runs of the gateway's tools.", "provider", "model", "server", "name"
        )
        self.first_byte = spread(
            "time_to_first_byte_seconds", "From a request to its answer's first byte.", _SLOW, "provider", "model"
        )
        self.overhead = spread("overhead_seconds", "The gateway's own share of a request.", _QUICK, "provider")
        self.refused = counter("refusals_total", "Requests that the gateway refused itself.", "provider", "status")
        where = ("provider", "endpoint", "model")
        self.breaker_state = gauge("circuit_breaker_state", "0 closed, 0.5 half open, 1 open.", *where)
        self.breaker_trips = counter("circuit_breaker_trips_total", "How often a circuit opened.", *where)
        self.breaker_rejects = counter("circuit_breaker_rejects_total", "Requests that met an open circuit.", *where)
        self.queued_rows = gauge("recorder_queue_rows", "Rows that wait for their commit.")
        self.spooled_rows = gauge("recorder_spooled_rows", "Rows that wait on local disk for the database.")
        self.commit = histogram("recorder_commit_seconds", "Commits of the recorder.", _QUICK)
