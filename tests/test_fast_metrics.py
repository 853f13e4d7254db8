"""Plain counters, beside those of Prometheus's client."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from twisted.trial.unittest import SynchronousTestCase

from aibridge.fast_metrics import counters, gauges, histograms

BOUNDS = (0.1, 1.0, 10.0)
_values = st.floats(0, 20) | st.sampled_from(BOUNDS)


def shown(registry: CollectorRegistry) -> list[str]:
    """What is scraped, without the times at which counting began."""
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if "_created" not in line]


class CountingTests(SynchronousTestCase):
    """What is scraped is the same, to the letter."""

    @given(st.lists(st.tuples(st.sampled_from("abc"), _values)))
    def test_as_the_client_counts(self, counted: list[tuple[str, float]]) -> None:
        """Counters, gauges and histograms, with labels and without anything counted."""
        plain, library = CollectorRegistry(), CollectorRegistry()
        ours = (
            counters(plain, "asked_total", "Requests.", "who"),
            gauges(plain, "inside", "Inside.", "who"),
            histograms(plain, "took_seconds", "Took.", BOUNDS, "who"),
        )
        theirs = (
            Counter("asked_total", "Requests.", ("who",), registry=library),
            Gauge("inside", "Inside.", ("who",), registry=library),
            Histogram("took_seconds", "Took.", ("who",), registry=library, buckets=BOUNDS),
        )
        for who, value in counted:
            asked, inside, took = ours
            asked.labels(who).value += value
            inside.labels(who).value += value
            took.labels(who).observe(value)
            theirs_asked, theirs_inside, theirs_took = theirs
            theirs_asked.labels(who).inc(value)
            theirs_inside.labels(who).inc(value)
            theirs_took.labels(who).observe(value)
        self.assertEqual(shown(plain), shown(library))

    def test_names_once(self) -> None:
        """Two of one name don't go into one registry."""
        registry = CollectorRegistry()
        counters(registry, "asked_total", "Requests.")
        self.assertRaises(ValueError, counters, registry, "asked_total", "Requests.")
