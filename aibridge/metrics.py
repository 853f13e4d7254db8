"""The gateway's Prometheus metrics. Dashboards rely on their names and labels; a prefix is the registry's business.

https://prometheus.io/docs/practices/naming/
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from .caches import CachedDict
from .fast_metrics import FastCounter, counters, gauges, histograms
from .record.values import storable

_OTHER = "other"
_MAX_VALUES = 200
_LONGEST_TYPE = 80
_SHORT = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_LONG = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Upper bounds of buckets, in seconds."""
_MODEL = ("provider", "model")
_ACTOR = ("initiator_id", "client")
_CIRCUIT = ("provider", "endpoint", "model")


class BoundedLabel:
    """Values of a label that clients can invent: the first `most` are kept, every further one is ``other``."""

    def __init__(self, most: int = _MAX_VALUES) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        if value in self._known:
            return value
        value = storable(value)  # with a lone surrogate in it, no metric at all could be sent
        if value in self._known:
            return value
        if len(self._known) >= self._most:
            return _OTHER
        self._known.add(value)
        return value


class Subject(NamedTuple):
    """The label values of one kind of interception."""

    provider: str
    model: str
    route: str
    initiator_id: str
    client: str


class Series:
    """The time series of one subject, looked up once: a look-up by labels costs more than counting."""

    def __init__(self, metrics: "Metrics", subject: Subject) -> None:
        where = self._where = (subject.provider, metrics.model(subject.model))
        self._metrics, self._actor = metrics, subject.initiator_id
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

    @cached_property
    def cost(self) -> FastCounter:
        """Dollars; without prices there is no such series."""
        return self._metrics.cost.labels(*self._where, self._actor)

    @cached_property
    def unpriced(self) -> FastCounter:
        """Tokens whose cost is not known."""
        return self._metrics.unpriced.labels(*self._where)


class Metrics:
    """All metrics of one gateway, in one registry."""

    def __init__(self, registry: CollectorRegistry, namespace: str = "") -> None:
        self.registry = registry
        self._prefix = f"{namespace}_" if namespace else ""
        self.series: CachedDict[Subject, Series] = CachedDict(partial(Series, self))
        self.model = BoundedLabel()
        self.tool = BoundedLabel()
        self.method = BoundedLabel()
        self._add_interceptions()
        self._add_requests()
        self._add_websockets()
        self._add_recorder()
        self._add_budgets()

    def _add_interceptions(self) -> None:
        """Metrics that every interception changes."""
        registry, prefix = self.registry, self._prefix
        self.interceptions = counters(
            registry,
            f"{prefix}interceptions_total",
            "Interceptions that ended.",
            *(*_MODEL, "status", "route", "method", *_ACTOR),
        )
        self.inflight = gauges(
            registry, f"{prefix}interceptions_inflight", "Interceptions under way.", *_MODEL, "route"
        )
        self.duration = histograms(
            registry, f"{prefix}interceptions_duration_seconds", "From a request to its end.", _LONG, *_MODEL
        )
        self.first_byte = histograms(
            registry,
            f"{prefix}time_to_first_byte_seconds",
            "From a request to its first byte.",
            _LONG,
            *_MODEL,
        )
        self.overhead = histograms(
            registry, f"{prefix}overhead_seconds", "The gateway's own share of a request.", _SHORT, "provider"
        )
        self.prompts = counters(registry, f"{prefix}prompts_total", "Users' prompts.", *_MODEL, *_ACTOR)
        self.tokens = counters(registry, f"{prefix}tokens_total", "Tokens, by kind.", *_MODEL, "type", *_ACTOR)
        self.cost = counters(registry, f"{prefix}cost_usd_total", "Costs, in USD.", *_MODEL, "initiator_id")
        self.unpriced = counters(registry, f"{prefix}unpriced_tokens_total", "Tokens whose cost is not known.", *_MODEL)
        self.client_tools = counters(
            registry, f"{prefix}non_injected_tool_selections_total", "Calls of clients' own tools.", *_MODEL, "name"
        )
        self.injected_tools = counters(
            registry, f"{prefix}injected_tool_invocations_total", "Runs of injected tools.", *_MODEL, "server", "name"
        )

    def _add_requests(self) -> None:
        """Metrics of requests that are passed through or refused."""
        self.passthrough = self._counter("passthrough_total", "Requests passed through.", "provider", "route", "method")
        self.refused = self._counter("refusals_total", "Requests that the gateway refused.", "provider", "status")
        self.learnt_refusals = self._counter(
            "provider_refusals_learned_total", "Refusals that the gateway learned from.", "provider", "kind"
        )
        self.key_state = self._gauge("key_state", "1 if a pool's key may be used, 0 if it cools.", "provider", "hint")
        self.key_cooldowns = self._counter(
            "key_cooldowns_total", "Times that a pool's key was refused.", "provider", "hint", "reason"
        )
        self.spans_exported = self._counter("trace_spans_exported_total", "Spans that the collector has taken.")
        self.spans_dropped = self._counter("trace_spans_dropped_total", "Spans that were not exported.", "reason")
        self.dumps_stopped = self._gauge("dumps_stopped", "1 while the provider's dumps can't be written.", "provider")
        self.dumps_dropped = self._counter("dumps_dropped_total", "Files of dumps that were left out.", "provider")
        self.breaker_state = self._gauge("circuit_breaker_state", "0 closed, 0.5 half open, 1 open.", *_CIRCUIT)
        self.breaker_trips = self._counter("circuit_breaker_trips_total", "Times that a circuit opened.", *_CIRCUIT)
        self.breaker_rejects = self._counter(
            "circuit_breaker_rejects_total", "Requests refused by an open circuit.", *_CIRCUIT
        )

    def _add_websockets(self) -> None:
        """Metrics of WebSockets and their messages."""
        registry, prefix = self.registry, self._prefix
        self.websockets = gauges(registry, f"{prefix}websocket_connections", "Open WebSockets.", "provider")
        self.handshakes = counters(
            registry, f"{prefix}websocket_handshakes_total", "Handshakes that ended.", "provider", "outcome"
        )
        self.messages = counters(
            registry, f"{prefix}websocket_messages_total", "Messages relayed.", "provider", "direction", "type"
        )
        self._message_type = BoundedLabel()

    def count_message(self, provider: str, direction: str, kind: str) -> None:
        """Count a message of a WebSocket."""
        self.messages.labels(provider, direction, self._message_type(kind[:_LONGEST_TYPE] or _OTHER)).value += 1

    def _add_recorder(self) -> None:
        """Metrics of the recorder."""
        self.queued_rows = self._gauge("recorder_queue_rows", "Rows that wait for their commit.")
        self.spooled_rows = self._gauge("recorder_spooled_rows", "Rows that wait on local disk for the database.")
        self.commit = histograms(
            self.registry, f"{self._prefix}recorder_commit_seconds", "Commits of the recorder.", _SHORT
        )

    def _add_budgets(self) -> None:
        """Metrics of caps on money."""
        self.budget_used = self._gauge("budget_used_ratio", "The spent part of a cap on money.", "scope", "name")
        self.budget_reserved = self._gauge("budget_reserved_usd", "What requests under way reserve of caps, in USD.")
        self.budget_refusals = self._counter("budget_refusals_total", "Requests that a cap has refused.", "scope")
        self.budget_warnings = self._counter(
            "budget_warnings_total", "Warnings that a part of a cap is spent.", "scope"
        )

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(self._prefix + name, documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(self._prefix + name, documentation, labels, registry=self.registry)


class ConsoleMetrics:
    """The metrics of the console. They exist once somebody looks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "console_requests_total", "Requests of the console.", ("page", "status"), registry=registry
        )
        self.queries = Histogram(
            "console_query_seconds",
            "Questions of the console, with the wait for a thread.",
            ("query",),
            registry=registry,
            buckets=_SHORT,
        )


class ServerStates:
    """The gauge of MCP servers: 1 for each that is connected. It is read when the metrics are.

    :param states: returns, by name, True for each server that is up.
    """

    def __init__(self, registry: CollectorRegistry, states: Callable[[], Mapping[str, bool]]) -> None:
        self._states = states
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Return the gauge without its values, by which the registry knows its name."""
        return [self._gauge()]

    def collect(self) -> Iterable[Metric]:
        """Return the gauge with its values now."""
        gauge = self._gauge()
        for name, is_up in self._states().items():
            gauge.add_metric([name], float(is_up))
        return [gauge]

    def _gauge(self) -> GaugeMetricFamily:
        return GaugeMetricFamily("mcp_server_up", "1 if the MCP server is connected.", labels=("server",))
