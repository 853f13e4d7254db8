"""What an operator sees of exchanges, in metrics and logs, and what nobody sees anywhere."""

import json
from typing import Any

from prometheus_client import generate_latest
from twisted.internet.defer import fail
from twisted.logger import capturedLogs, formatEvent

from aibridge import Actor, BreakerSettings
from aibridge.errors import RecordingError
from aibridge.logs import text_of
from aibridge.testing import Ending, MemoryRecorder, RawReply, Reply, ToolCall, Usage

from .apis import APIS, CHAT, MESSAGES, OWN, RESPONSES, SECRET, Api
from .gateway import PROVIDER_PORT, ChainTestCase

USAGE = Usage(input=11, output=22, cache_read=33, cache_write=4, reasoning=7)
PROMPT = "my-private-prompt"
REPLY = Reply(text="my-private-answer", tool_calls=[ToolCall("look", {"at": "my-private-argument"})], usage=USAGE)
JSON = {"Content-Type": "application/json"}
WHO = {"initiator_id": "alice", "client": "Claude Code"}
ONE_MODEL = {"provider": "anthropic", "model": "model-1"}
FAULTS = (
    Reply(text="x" * 5000, stop_after=1, ending=Ending.CUT),
    RawReply(status=None, chunks=[b"garbage\r\n\r\n"]),
    RawReply(status=429, headers={"Content-Type": "application/json"}, chunks=[b'{"error":{"type":"slow"}}']),
)


class InsightTestCase(ChainTestCase):
    """Everyone is alice."""

    def setUp(self) -> None:
        super().setUp()
        self.start(authenticate=lambda request: Actor("alice", {"team": "core"}))

    def exchange_with(self, api: Api, reply: Any = REPLY, **rest: Any) -> None:
        """One exchange of alice's with Claude Code."""
        self.provider.say(reply)
        self.answer(api, PROMPT, headers={"User-Agent": "claude-cli/2.1"}, **rest)

    def value(self, sample: str, labels: dict[str, str]) -> float:
        """A sample; zero where there is none."""
        return self.bridge.metrics.registry.get_sample_value(sample, labels) or 0.0


class MetricsTests(InsightTestCase):
    """Names, labels and values."""

    def assert_counted(self, api: Api) -> None:
        of_model = {"provider": api.provider, "model": "model-1"}
        route = api.path.removeprefix(f"/{api.provider}")
        for stream in (False, True):
            self.exchange_with(api, stream=stream)
        ended = {"status": "completed", "route": route, "method": "POST"}
        counted = {
            "interceptions_total": {**of_model, **WHO, **ended},
            "prompts_total": {**of_model, **WHO},
            "non_injected_tool_selections_total": {**of_model, "name": "look"},
            "interceptions_duration_seconds_count": of_model,
            "time_to_first_byte_seconds_count": of_model,
            "overhead_seconds_count": {"provider": api.provider},
        }
        found = {name: self.value(name, labels) for name, labels in counted.items()}
        self.assertEqual(found, dict.fromkeys(counted, 2.0))
        self.assertEqual(self.value("interceptions_inflight", of_model | {"route": route}), 0)
        reasoning = "thinking_tokens" if api.provider == "anthropic" else "reasoning_tokens"
        tokens = {
            "input": 22,
            "output": 44,
            "cache_read_input_tokens": 66,
            "cache_write_input_tokens": 8,
            reasoning: 14,
        }
        counts = {kind: self.value("tokens_total", of_model | WHO | {"type": kind}) for kind in tokens}
        self.assertEqual(counts, tokens)

    def test_first_byte(self) -> None:
        """The time to the head of the answer is in the interception's record, in milliseconds."""
        self.exchange_with(MESSAGES)
        (ended,) = self.recorder.ended.values()
        assert ended.first_byte_ms is not None
        self.assertEqual(ended.first_byte_ms, 1000 * self.value("time_to_first_byte_seconds_sum", ONE_MODEL))

    def test_no_first_byte(self) -> None:
        """Without an answer there is no time to its head."""
        self.network.close_port(PROVIDER_PORT)
        self.exchange_with(MESSAGES)
        (ended,) = self.recorder.ended.values()
        self.assertIsNone(ended.first_byte_ms)

    def test_messages(self) -> None:
        """Two exchanges in messages."""
        self.assert_counted(MESSAGES)

    def test_chat(self) -> None:
        """Two in chat completions."""
        self.assert_counted(CHAT)

    def test_responses(self) -> None:
        """Two in responses."""
        self.assert_counted(RESPONSES)

    def test_in_flight(self) -> None:
        """What is under way is seen while it is."""
        self.provider.say(REPLY)
        client = self.ask(MESSAGES, stream=True)
        self.network.settle()
        labels = {"provider": "anthropic", "model": "model-1", "route": "/v1/messages"}
        self.assertEqual(self.value("interceptions_inflight", labels), 1)
        client.leave()
        self.network.settle()
        self.assertEqual(self.value("interceptions_inflight", labels), 0)

    def test_each_ending_once(self) -> None:
        """Each exchange is counted once, however it ended."""
        for fault in FAULTS:
            self.exchange_with(CHAT, fault)
        self.exchange_with(CHAT)
        client = self.ask(CHAT, PROMPT, stream=True, headers={"User-Agent": "claude-cli/2.1"})
        self.network.settle()
        client.leave()
        self.network.settle()
        labels = {"provider": "openai", "model": "model-1", "route": "/v1/chat/completions", "method": "POST", **WHO}
        statuses = ("failed", "completed", "cancelled")
        ends = [self.value("interceptions_total", labels | {"status": status}) for status in statuses]
        self.assertEqual(ends, [3, 1, 1])
        where = {name: labels[name] for name in ("provider", "model", "route")}
        self.assertEqual(self.value("interceptions_inflight", where), 0)

    def test_ends_that_are_not_recorded(self) -> None:
        """An answer whose end can't be recorded did not reach the client whole: it counts and is logged as failed."""
        self.patch(MemoryRecorder, "record_interception_ended", lambda _, record: fail(RecordingError("disk full")))
        with capturedLogs() as events:
            self.exchange_with(CHAT)
        labels = {"provider": "openai", "model": "model-1", "route": "/v1/chat/completions", "method": "POST", **WHO}
        counts = [self.value("interceptions_total", labels | {"status": each}) for each in ("failed", "completed")]
        self.assertEqual(counts, [1, 0])
        self.assertEqual([event["status"] for event in events if "interception" in event], ["failed"])

    def test_time_to_first_byte(self) -> None:
        """Durations are those of the exchange."""
        self.provider._delay = 0.5
        self.exchange_with(MESSAGES, Reply(text="a b"), stream=True)
        self.network.wait(10)
        labels = {"provider": "anthropic", "model": "model-1"}
        self.assertGreater(self.value("interceptions_duration_seconds_sum", labels), 3)
        self.assertLess(self.value("time_to_first_byte_seconds_sum", labels), 0.1)
        self.assertLess(self.value("overhead_seconds_sum", {"provider": "anthropic"}), 0.1)

    def test_passthrough(self) -> None:
        """What passes through is counted by its route, not by its path."""
        for model in ("a", "b"):
            client = self.connect()
            client.send("GET", f"/openai/v1/models/{model}")
            self.network.settle()
        labels = {"provider": "openai", "route": "/v1/models/", "method": "GET"}
        self.assertEqual(self.value("passthrough_total", labels), 2)

    def test_labels_are_bounded(self) -> None:
        """What clients can invent doesn't make series without end: models, tools, methods."""
        for number in range(250):
            client = self.connect()
            client.send("POST", CHAT.path, CHAT.body(model=f"made-up-{number}"))
            client.send(f"MADEUP{number}", "/openai/v1/models")
            self.network.settle()
        series = generate_latest(self.bridge.metrics.registry).decode()
        found = [text in series for text in ('model="other"', "made-up-249", "MADEUP")]
        self.assertEqual(found, [True, False, False])


class LogTests(InsightTestCase):
    """One event an exchange, in figures."""

    def test_one_event_an_exchange(self) -> None:
        """Each exchange's end is one event with its figures, in each API, well or badly ended."""
        for api in APIS:
            with capturedLogs() as events:
                self.exchange_with(api, stream=True)
            [event] = [event for event in events if "interception" in event]
            wanted = {"actor": "alice", "client": "Claude Code", "provider": api.provider, "model": "model-1"}
            wanted |= {"status": "completed", "http_status": 200, "input_tokens": 11, "output_tokens": 22}
            wanted |= {"cache_read_input_tokens": 33, "tool_calls": 1, "interception": self.exchanges[-1].begun.id}
            self.assertEqual({name: event[name] for name in wanted}, wanted)

    def test_faults_are_logged_once(self) -> None:
        """So is one that failed; its line ends with the error."""
        for fault in FAULTS:
            with capturedLogs() as events:
                self.exchange_with(MESSAGES, fault)
            [event] = [event for event in events if "interception" in event]
            self.assertEqual(event["status"], "failed")
            self.assertTrue(event["error"])
            self.assertTrue(event["error_class"].isidentifier())
            self.assertTrue(event["summary"].endswith(f"({event['interception']}): {event['error']}"), event["summary"])

    def test_request_id(self) -> None:
        """The client's own name of a request reaches the provider as it is, and the log cut off and cleaned."""
        for sent, logged in (("abc", "abc"), ("a\xe9 b", "a..b"), ("x" * 300, "x" * 128)):
            with capturedLogs() as events:
                self.answer(MESSAGES, headers={"X-Request-Id": sent})
            [event] = [event for event in events if "interception" in event]
            self.assertEqual(event["request_id"], logged)
            self.assertIn(f", request {logged})", event["summary"])
            [received] = self.provider.requests[-1].headers.getRawHeaders(b"x-request-id")
            self.assertEqual(received, sent.encode("latin-1"))

    def test_forged_lines(self) -> None:
        """Nothing that a client or provider says makes a line of its own or controls a terminal; the row keeps it."""
        forged = "m\x1b[31m\r\n2026-01-01T00:00:00+0000 [a#info] forged\u009b1m"
        headers = {"User-Agent": "evil\x9b1m\xc2\x85/1.0"}
        self.start({"circuit_breaker": BreakerSettings(failure_threshold=1)})
        with capturedLogs() as events:
            for api in APIS:
                error = {"error": {"type": forged, "message": forged}}
                self.provider.say(RawReply(status=503, headers=JSON, chunks=[json.dumps(error).encode()]))
                self.answer(api, PROMPT, model=forged, headers=headers)
                self.assertEqual(self.exchange.begun.model, forged)
                self.recorder.__init__()  # type: ignore[misc]
        for event in events:
            self.assertTrue(formatEvent(event).isprintable(), event)
            self.assertEqual((text_of(event) or "").splitlines()[1:], [])
        self.assertGreaterEqual(len(events), 2 * len(APIS))


class SecrecyTests(InsightTestCase):
    """Credentials and contents stay where they belong."""

    def everything(self, do: Any) -> str:
        """All that an operator can see of what is done: events with all they carry, and metrics."""
        with capturedLogs() as events:
            do()
        seen = json.dumps([{key: repr(value) for key, value in event.items()} for event in events])
        return seen + generate_latest(self.bridge.metrics.registry).decode()

    def exchanges_of_all_kinds(self) -> None:
        """In every API: well, badly, refused, with both kinds of credential."""
        for api in APIS:
            for headers in ({}, {"X-Api-Key": OWN}, {"Authorization": f"Bearer {OWN}"}):
                for reply in (REPLY, *FAULTS):
                    self.provider.say(reply)
                    self.answers.append(self.answer(api, PROMPT, headers=headers, stream=reply is REPLY))
            client = self.connect()
            client.send("POST", api.path, PROMPT.encode(), {"X-Api-Key": OWN})
            self.network.settle()
            self.answers.append(client.answer)
        self.network.close_port(PROVIDER_PORT)
        self.start()
        self.answers.append(self.answer(MESSAGES, PROMPT))

    def test_secrets(self) -> None:
        """Neither credential is in logs, metrics, records, errors or the repr of anything that holds one."""
        self.answers: list[Any] = []
        seen = self.everything(self.exchanges_of_all_kinds)
        seen += repr(self.recorder) + repr(self.exchanges) + repr([vars(bridge) for bridge, _ in self.started])
        seen += repr([interceptor.provider for interceptor in self.bridge._interceptors.by_name.values()])
        seen += "".join(answer.body.decode() + repr(answer.headers) for answer in self.answers)
        for secret in (SECRET, OWN, SECRET[3:-2], OWN[3:-2]):
            self.assertNotIn(secret, seen)

    def test_contents(self) -> None:
        """No prompt, answer or argument is in logs or metrics."""
        self.answers = []
        seen = self.everything(self.exchanges_of_all_kinds)
        self.assertNotIn("my-private", seen)
