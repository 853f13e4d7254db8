"""The metrics of several processes, added up."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from aibridge.metrics import Metrics
from aibridge.workers.metric_sums import MetricSums, take_snapshot


class Process:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("requests", "", ["user"], registry=self.registry)
        self.seconds = Histogram("seconds", "", registry=self.registry, buckets=(1, 10))
        self.inflight = Gauge("inflight", "", registry=self.registry)
        self.state = Gauge("circuit_breaker_state", "", registry=self.registry)


class MetricSumsTests(SynchronousTestCase):
    """Two workers, and the page that they make together."""

    def setUp(self) -> None:
        self.sums = MetricSums()
        self.own = CollectorRegistry()
        self.first, self.second = Process(), Process()

    def update(self) -> None:
        """The workers tell their metrics."""
        self.sums.update(1, take_snapshot(self.first.registry))
        self.sums.update(2, take_snapshot(self.second.registry))

    def page(self) -> dict[tuple[str, str], float]:
        """The values on the page, by name and the value of the only label."""
        text = generate_latest(self.sums.with_own(self.own)).decode()
        return {
            (sample.name, "".join(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def test_sums(self) -> None:
        """Counters, histograms and gauges are added up, each set of labels for itself."""
        self.first.requests.labels("alice").inc(2)
        self.second.requests.labels("alice").inc(3)
        self.second.requests.labels("bob").inc()
        self.first.seconds.observe(0.5)
        self.second.seconds.observe(5)
        self.first.inflight.set(4)
        self.second.inflight.set(2)
        self.update()
        page = self.page()
        self.assertEqual([page["requests_total", name] for name in ("alice", "bob")], [5, 1])
        self.assertEqual([page["seconds_bucket", bound] for bound in ("1.0", "10.0", "+Inf")], [1, 2, 2])
        self.assertEqual((page["seconds_sum", ""], page["seconds_count", ""]), (5.5, 2))
        self.assertEqual(page["inflight", ""], 6)

    def test_highest_and_earliest(self) -> None:
        """Of a circuit's states the worst is shown; times at which a series began are not added up."""
        self.first.state.set(0.5)
        self.second.state.set(1)
        self.first.requests.labels("alice").inc()
        self.second.requests.labels("alice").inc()
        self.update()
        page = self.page()
        self.assertEqual(page["circuit_breaker_state", ""], 1)
        began = [
            sample.value
            for process in (self.first, self.second)
            for family in process.requests.collect()
            for sample in family.samples
            if sample.name == "requests_created"
        ]
        self.assertEqual(page["requests_created", "alice"], min(began))

    def test_end(self) -> None:
        """What a worker that ended has counted stays, and its successor adds to it; its gauges are gone."""
        self.first.requests.labels("alice").inc(2)
        self.first.seconds.observe(0.5)
        self.first.inflight.set(4)
        self.update()
        for _ in range(2):
            self.sums.end(1)
            self.assertEqual(self.page()["requests_total", "alice"], 2)
        self.assertEqual(self.page()["inflight", ""], 0)
        self.first = Process()
        self.first.requests.labels("alice").inc()
        self.update()
        self.assertEqual(self.page()["requests_total", "alice"], 3)
        self.sums.end(1)
        self.assertEqual((self.page()["requests_total", "alice"], self.page()["seconds_count", ""]), (3, 1))

    def test_the_gateways_own(self) -> None:
        """The page of one worker says what the worker's own would say, and the parent adds its own metrics."""
        metrics = Metrics(CollectorRegistry())
        metrics.passthrough.labels("openai", "/v1/models", "GET").inc()
        metrics.commit.labels().observe(0.01)
        self.sums.update(1, take_snapshot(metrics.registry))
        lines = set(generate_latest(metrics.registry).decode().splitlines())
        self.assertEqual(lines - set(generate_latest(self.sums.with_own(self.own)).decode().splitlines()), set())
        Counter("restarts", "", registry=self.own).inc()
        self.assertEqual(self.page()["restarts_total", ""], 1)
