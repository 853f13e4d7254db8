"""What is counted, under which names, and what is logged of it."""

from prometheus_client import CollectorRegistry, generate_latest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, eventAsText
from twisted.trial.unittest import SynchronousTestCase

from aibridge.costs.calculator import Bill
from aibridge.interception_metrics import InterceptionMetrics
from aibridge.metrics import BoundedLabel, Metrics, Subject
from aibridge.record.ledger import RoundResult
from aibridge.wire.formats import Answer, Thought, ToolCall
from aibridge.wire.tool_calls import InjectedCall, InjectedTool, ToolResult
from aibridge.wire.usage import Iteration, TokenCounts

from .record.samples import ended, interception

NAMES = {
    "interceptions_total": {"provider", "model", "status", "route", "method", "initiator_id", "client"},
    "interceptions_inflight": {"provider", "model", "route"},
    "interceptions_duration_seconds": {"provider", "model"},
    "passthrough_total": {"provider", "route", "method"},
    "prompts_total": {"provider", "model", "initiator_id", "client"},
    "tokens_total": {"provider", "model", "type", "initiator_id", "client"},
    "cost_usd_total": {"provider", "model", "initiator_id"},
    "unpriced_tokens_total": {"provider", "model"},
    "non_injected_tool_selections_total": {"provider", "model", "name"},
    "injected_tool_invocations_total": {"provider", "model", "server", "name"},
    "time_to_first_byte_seconds": {"provider", "model"},
    "overhead_seconds": {"provider"},
    "circuit_breaker_state": {"provider", "endpoint", "model"},
    "circuit_breaker_trips_total": {"provider", "endpoint", "model"},
    "circuit_breaker_rejects_total": {"provider", "endpoint", "model"},
    "recorder_queue_rows": set(),
    "recorder_commit_seconds": set(),
}
WHERE = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
WHO = {"initiator_id": "alice", "client": "Claude Code"}


class NameTests(SynchronousTestCase):
    """Dashboards rely on names and labels."""

    def test_as_promised(self):
        """Each has its name and its labels, and what is said of time is said in seconds."""
        metrics = Metrics(CollectorRegistry())
        found = {}
        for metric in vars(metrics).values():
            for described in metric.describe() if hasattr(metric, "describe") else ():
                suffix = "_total" if described.type == "counter" else ""
                labels = getattr(described, "_labelnames", None)
                found[described.name + suffix] = set(metric._labelnames if labels is None else labels)
        self.assertEqual({name: found.get(name) for name in NAMES}, NAMES)

    def test_namespace(self):
        """A host may put a prefix before all of them, and have two in one process."""
        registry = CollectorRegistry()
        Metrics(registry), Metrics(registry, namespace="second")
        self.assertIn("second_tokens", {metric.name for metric in registry.collect()})


class BoundTests(SynchronousTestCase):
    """What clients can invent doesn't fill the memory."""

    def test_label(self):
        """The first two hundred are told apart, for ever; the rest is other."""
        label = BoundedLabel()
        self.assertEqual([label(f"m{n}") for n in range(200)], [f"m{n}" for n in range(200)])
        self.assertEqual({label(f"m{n}") for n in range(200, 400)}, {"other"})
        self.assertEqual(label("m7"), "m7")

    def test_lone_surrogates(self):
        """A name that can't be encoded, of a client's or a provider's, is escaped: one would be the end of every scrape."""
        odd, registry = "m\ud800", CollectorRegistry()
        metrics = Metrics(registry)
        series = metrics.series[Subject("anthropic", odd, "/v1/messages", odd, odd)]
        for counter in (series.tokens[odd], series.client_tools[odd], series.cost, series.unpriced):
            counter.value += 1
        metrics.breaker_trips.labels("anthropic", "/v1/messages", metrics.model(odd)).inc()
        metrics.count_message("openai", "sent", odd)
        lines = generate_latest(registry).decode().splitlines()
        for metric in ("tokens_total", "circuit_breaker_trips_total", "websocket_messages_total"):
            [line] = [line for line in lines if line.startswith(metric + "{")]
            self.assertIn("m\\\\ud800", line)


class TallyTests(SynchronousTestCase):
    """One interception's share."""

    def setUp(self):
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.clock = Clock()
        self.answer = Answer(
            tool_calls=[ToolCall("t", "weather", {"secret": "arguments"}), ToolCall("u", "weather", {})],
            thoughts=[Thought("secret thought", "thinking")],
            finished=True,
        )
        self.figures = TokenCounts(1, 2, 3, 0, {"reasoning_tokens": 4, "total_tokens": 6, "zero": 0})

    def value(self, metric, /, **labels):
        return self.registry.get_sample_value(metric, labels)

    def start(self, **changes):
        self.record = interception(**changes)
        return InterceptionMetrics(self.metrics, self.clock, self.record, "/v1/messages")

    def test_counts(self):
        """Its status, its times, its prompt, its tokens by kind and the tools that were called."""
        metrics = self.start()
        self.assertEqual(self.value("interceptions_inflight", **WHERE, route="/v1/messages"), 1)
        self.clock.advance(1)
        metrics.request_sent()
        self.clock.advance(2)
        metrics.response_began()
        self.clock.advance(4)
        metrics.received()
        self.clock.advance(8)
        metrics.count(RoundResult(self.answer, self.figures))
        metrics.end(ended(self.record.id), prompted=True)
        exchange = WHERE | WHO | {"status": "completed", "route": "/v1/messages", "method": "POST"}
        self.assertEqual(self.value("interceptions_total", **exchange), 1)
        self.assertEqual(self.value("interceptions_inflight", **WHERE, route="/v1/messages"), 0)
        self.assertEqual(self.value("interceptions_duration_seconds_sum", **WHERE), 15)
        self.assertEqual(self.value("time_to_first_byte_seconds_sum", **WHERE), 3)
        self.assertEqual(self.value("overhead_seconds_sum", provider="anthropic"), 9)
        self.assertEqual(self.value("prompts_total", **WHERE, **WHO), 1)
        self.assertEqual(self.value("non_injected_tool_selections_total", **WHERE, name="weather"), 2)

    def test_kinds_of_tokens(self):
        """Kinds with none leave no trace, and the sum of the others isn't counted beside them."""
        metrics = self.start()
        metrics.count(RoundResult(self.answer, self.figures))
        metrics.end(ended(self.record.id))
        kinds = (
            "input",
            "output",
            "cache_read_input_tokens",
            "cache_write_input_tokens",
            "reasoning_tokens",
            "zero",
            "total_tokens",
        )
        counted = {kind: self.value("tokens_total", **WHERE, **WHO, type=kind) for kind in kinds}
        self.assertEqual(
            {kind: count for kind, count in counted.items() if count is not None},
            {"input": 1, "output": 2, "cache_read_input_tokens": 3, "reasoning_tokens": 4},
        )
        self.assertFalse(self.value("prompts_total", **WHERE, **WHO))

    def costs(self):
        """The counters of costs: dollars, and tokens without a price."""
        dollars = self.value("cost_usd_total", **WHERE, initiator_id="alice")
        return dollars, self.value("unpriced_tokens_total", **WHERE)

    def test_costs(self):
        """Costs add up in dollars, and are in the log; without prices there is neither series nor figure."""
        metrics = self.start()
        metrics.count(RoundResult(self.answer, self.figures))
        self.assertEqual(self.costs(), (None, None))
        for _ in range(2):
            metrics.count(RoundResult(self.answer, self.figures, bill=Bill("table 1", [1_250_000_000])))
        self.assertEqual(self.costs(), (2.5, None))
        with capturedLogs() as logged:
            metrics.end(ended(self.record.id))
        self.assertEqual(logged[0]["cost_usd"], 2.5)
        self.assertIn("calls, 2.500000 USD, 0.000 s", eventAsText(logged[0]))

    def test_unknown_costs(self):
        """Tokens without a price are counted, and the log says that the cost is not known."""
        metrics = self.start()
        figures = TokenCounts(1, 2, 3, 0, beside=[Iteration("compaction", None, TokenCounts(4, 5))])
        metrics.count(RoundResult(self.answer, figures, bill=Bill("table 1", [1_000_000_000, None])))
        self.assertEqual(self.costs(), (1, 9))
        with capturedLogs() as logged:
            metrics.end(ended(self.record.id))
        self.assertIsNone(logged[0]["cost_usd"])
        self.assertIn("calls, cost unknown, 0.000 s", eventAsText(logged[0]))

    def test_subscription(self):
        """What is used by a subscription neither costs nor lacks a price."""
        self.start().count(RoundResult(self.answer, self.figures, bill=Bill("table 1", [None], True)))
        self.assertEqual(self.costs(), (None, None))

    def test_names_that_meet(self):
        """A provider's counter that is called like a main figure doesn't take its place."""
        figures = TokenCounts(input=5, others={"input": 1000, "output": 1000})
        self.start().count(RoundResult(Answer(), figures))
        self.assertEqual(self.value("tokens_total", **WHERE, **WHO, type="input"), 5)

    def test_rounds(self):
        """Over several answers tokens add up, the gateway's own time is what is left, and own tools are told apart."""
        metrics = self.start()
        for _ in range(2):
            self.clock.advance(1)
            metrics.request_sent()
            self.clock.advance(4)
            metrics.received()
            metrics.count(RoundResult(self.answer, self.figures, {"t"}))
        tool = InjectedTool("bmcp_sky_weather", "sky", "", "weather", "", {})
        metrics.count_tool_results([ToolResult(InjectedCall("t", tool, "{}"), [])] * 2)
        with capturedLogs() as logged:
            metrics.end(ended(self.record.id))
        self.assertEqual(self.value("tokens_total", **WHERE, **WHO, type="output"), 4)
        self.assertEqual(self.value("overhead_seconds_sum", provider="anthropic"), 2)
        self.assertEqual(self.value("non_injected_tool_selections_total", **WHERE, name="weather"), 2)
        self.assertEqual(self.value("injected_tool_invocations_total", **WHERE, server="sky", name="weather"), 2)
        self.assertEqual((logged[0]["output_tokens"], logged[0]["tool_calls"]), (4, 4))

    def test_no_answer(self):
        """An exchange without an answer is counted too."""
        self.start().end(ended(self.record.id, status="cancelled"))
        exchange = WHERE | WHO | {"status": "cancelled", "route": "/v1/messages", "method": "POST"}
        self.assertEqual(self.value("interceptions_total", **exchange), 1)

    def test_many_models(self):
        """Models that clients make up come under one name after two hundred."""
        for number in range(300):
            self.start(model=f"m{number}").end(ended(self.record.id))
        [models] = [metric for metric in self.registry.collect() if metric.name == "interceptions"]
        names = {sample.labels["model"] for sample in models.samples}
        self.assertEqual(len(names), 201)
        self.assertIn("other", names)

    def test_logged(self):
        """One event, with figures and ids, and nothing of what was said."""
        metrics = self.start()
        with capturedLogs() as logged:
            metrics.count(RoundResult(self.answer, self.figures))
            metrics.end(ended(self.record.id, error="overloaded_error"), prompted=True)
        [event] = logged
        self.assertEqual(str(event["interception"]), str(self.record.id))
        told = {
            name: event[name] for name in ("actor", "model", "status", "http_status", "input_tokens", "output_tokens")
        }
        self.assertEqual(
            told,
            {
                "actor": "alice",
                "model": "claude-sonnet-4-5",
                "status": "completed",
                "http_status": 200,
                "input_tokens": 1,
                "output_tokens": 2,
            },
        )
        self.assertNotIn("secret", repr(event))
        self.assertIn("1+3 in, 2 out, 2 tool calls", eventAsText(event))
