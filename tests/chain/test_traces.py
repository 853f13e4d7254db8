"""Traces of exchanges: spans, their figures, and what reaches provider and collector."""

import json
from typing import Any

from attrs import evolve
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export import SpanExportResult
from twisted.internet.defer import Deferred, succeed

from aibridge.testing import CannedServer, MemoryRecorder, RawReply, Reply, ToolCall, Usage
from aibridge.tracing import tracer
from aibridge.tracing.settings import TracingSettings
from aibridge.tracing.tracer import Tracer

from .apis import APIS, MESSAGES, RESPONSES
from .gateway import PROVIDER_PORT, ChainTestCase
from .toolbox import RESULT, ScriptedToolbox

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
USAGE = Usage(input=11, output=22, cache_read=33, cache_write=4)


class TraceTests(ChainTestCase):
    """A gateway whose collector keeps the spans."""

    def setUp(self) -> None:
        super().setUp()
        self.spans: dict[str, Any] = {}
        self.patch(tracer, "in_daemon_thread", lambda reactor, call: succeed(call()))
        self.trace(sample_ratio=1.0)

    def export(self, batch: Any) -> SpanExportResult:
        """The exporter's part."""
        self.spans |= {span.name: span for span in batch}
        return SpanExportResult.SUCCESS

    def trace(self, content: bool = False, sample_ratio: float = 1.0, **settings: Any) -> None:
        """A gateway with these settings of traces."""
        self.start(**settings)
        tracing = TracingSettings(content=content, sample_ratio=sample_ratio)
        traced = Tracer(tracing, self.bridge.metrics, self.network, self)  # type: ignore[arg-type]
        self.bridge.apply(evolve(self.bridge.settings, tracer=traced))

    def sent(self) -> dict[str, str]:
        """The headers of the provider's last request."""
        headers = self.provider.requests[-1].headers
        return {name.decode().lower(): values[0].decode() for name, values in headers.getAllRawHeaders()}

    def test_spans(self) -> None:
        """An exchange has a span, and its round another below it, with the figures as OpenTelemetry counts them."""
        for api in APIS:
            self.spans.clear()
            self.provider.say(Reply(text="pong", usage=USAGE))
            self.answer(api, stream=True)
            server, chat = self.spans.pop(f"POST {api.path}"), self.spans.pop("chat model-1")
            self.assertEqual((self.spans, server.parent, chat.parent), ({}, None, server.context))
            self.assertEqual((server.kind.name, chat.kind.name), ("SERVER", "CLIENT"))
            self.assertLessEqual(server.start_time, chat.start_time)
            self.assertLessEqual(chat.end_time, server.end_time)
            exchange = self.exchanges[-1]
            wanted = {
                "aibridge.interception.id": str(exchange.begun.id),
                "aibridge.actor": "anonymous",
                "aibridge.status": "completed",
                "http.response.status_code": 200,
                "http.route": api.path,
            }
            self.assertEqual({name: server.attributes[name] for name in wanted}, wanted)
            figures = {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": api.provider,
                "gen_ai.request.model": "model-1",
                "gen_ai.response.model": "model-1",
                "gen_ai.usage.input_tokens": 48,
                "gen_ai.usage.output_tokens": 22,
                "gen_ai.usage.cache_read.input_tokens": 33,
                "server.address": "192.0.2.9",
                "server.port": PROVIDER_PORT,
                "http.response.status_code": 200,
            }
            self.assertEqual({name: chat.attributes[name] for name in figures}, figures)
            self.assertTrue(chat.attributes["gen_ai.response.id"])
            self.assertNotIn("ping", str(server.attributes) + str(chat.attributes))

    def test_context(self) -> None:
        """A client's trace goes on in the gateway's spans and at the provider; nothing else of the request changes."""
        self.answer(MESSAGES, headers={"traceparent": PARENT, "tracestate": "vendor=1"})
        server, chat = self.spans[f"POST {MESSAGES.path}"], self.spans["chat model-1"]
        self.assertEqual(f"{server.parent.span_id:016x}", "b7ad6b7169203331")
        child = f"00-0af7651916cd43dd8448eb211c80319c-{chat.context.span_id:016x}-01"
        traced = self.sent()
        self.assertEqual((traced.pop("traceparent"), traced["tracestate"]), (child, "vendor=1"))
        body = self.provider.requests[-1].body
        self.start()
        self.answer(MESSAGES, headers={"traceparent": PARENT, "tracestate": "vendor=1"})
        untraced = self.sent()
        self.assertEqual(untraced.pop("traceparent"), PARENT)
        self.assertEqual((traced, body), (untraced, self.provider.requests[-1].body))

    def test_sampling(self) -> None:
        """The client's decision stands, for and against; without one, the share of all requests decides."""
        for ratio, given, traced in (
            (0.0, None, False),
            (1.0, None, True),
            (0.0, PARENT, True),
            (1.0, PARENT[:-1] + "0", False),
            (1.0, "00-nonsense", True),
        ):
            self.trace(sample_ratio=ratio)
            self.spans.clear()
            self.answer(MESSAGES, headers={"traceparent": given} if given else {})
            self.assertEqual(bool(self.spans), traced, given)
            if not traced:
                self.assertEqual(self.sent().get("traceparent"), given)

    def test_tools(self) -> None:
        """Each round and each tool has a span below the exchange's; contents are exported only if that is wanted."""
        for content in (False, True):
            self.spans.clear()
            self.trace(content, toolbox=ScriptedToolbox("look"))
            self.provider.say(Reply(tool_calls=[ToolCall("bmcp_sky_look", {"at": "secret-place"})]), Reply(text="blue"))
            self.answer(MESSAGES, "secret-prompt", stream=True)
            server, tool = self.spans[f"POST {MESSAGES.path}"], self.spans["execute_tool bmcp_sky_look"]
            self.assertEqual(tool.parent, server.context)
            self.assertEqual((tool.attributes["gen_ai.tool.name"], tool.status.is_ok), ("bmcp_sky_look", True))
            everything = json.dumps([dict(span.attributes) for span in self.spans.values()])
            for secret in ("secret-place", RESULT):
                self.assertEqual(secret in everything, content, secret)
        rounds = self.bridge.metrics.registry.get_sample_value("trace_spans_exported_total")
        self.assertEqual(rounds, 4.0)

    def test_lone_surrogates(self) -> None:
        """A model's name and a prompt that can't be encoded cost no span: the exporter would drop all of a batch."""
        self.trace(content=True)
        client = self.connect()
        client.send(
            "POST", MESSAGES.path, MESSAGES.body("SURROGATE", model="mSURROGATE").replace(b"SURROGATE", rb"\ud800")
        )
        self.network.wait(3)
        span = self.spans["chat m\\ud800"]
        encoded = encode_spans([*self.spans.values()]).SerializeToString()
        self.assertIn(b"m\\ud800", encoded)
        self.assertEqual(span.attributes["gen_ai.request.model"], "m\\ud800")

    def test_content(self) -> None:
        """The prompt is exported, with the first round, only if that is wanted."""
        for content in (False, True):
            self.trace(content)
            self.answer(MESSAGES, "secret-prompt")
            self.assertEqual("secret-prompt" in str(self.spans["chat model-1"].attributes), content)

    def test_errors(self) -> None:
        """An error of the provider's, in its status or in its stream, and one of the connection are in the spans."""
        overloaded = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"secret"}}\n\n'
        stream = RawReply(headers={"Content-Type": "text/event-stream"}, chunks=[overloaded])
        for said, error in ((RawReply(status=529, chunks=[b"{}"]), "529"), (stream, "overloaded_error")):
            self.provider.say(said)
            self.answer(MESSAGES, stream=True)
            server, chat = self.spans[f"POST {MESSAGES.path}"], self.spans["chat model-1"]
            self.assertEqual((chat.attributes["error.type"], chat.status.is_ok), (error, False))
            self.assertEqual(server.attributes["error.type"], "ProviderError")
        self.network.serve(PROVIDER_PORT, CannedServer(closes=True))
        self.trace()
        self.answer(MESSAGES)
        for name in (f"POST {MESSAGES.path}", "chat model-1"):
            self.assertEqual(self.spans[name].attributes["error.type"], "UpstreamFailed")

    def test_client_left(self) -> None:
        """An exchange whose client leaves has its spans; leaving is no error of the exchange's."""
        self.provider.say(Reply(text="a word and another " * 20))
        client = self.ask(MESSAGES, stream=True)
        self.network.wait(0.1)
        client.leave()
        self.network.wait(3)
        server = self.spans[f"POST {MESSAGES.path}"]
        self.assertEqual((server.attributes["aibridge.status"], server.status.is_ok), ("cancelled", True))
        self.assertIn("chat model-1", self.spans)

    def test_slow_commits(self) -> None:
        """A commit of more than 50 ms has a span; quicker ones have none."""
        now = [10**18]
        self.patch(tracer, "time_ns", lambda: now[0])
        waiting: list[Deferred[None]] = []

        def slowly(recorder: Any, record: Any) -> "Deferred[None]":
            waiting.append(Deferred())
            return waiting[-1]

        for milliseconds in (49, 51):
            self.spans.clear()
            self.patch(MemoryRecorder, "record_interception", slowly)
            self.trace()
            self.ask(RESPONSES)
            self.network.wait(0.1)
            while waiting:
                now[0] += milliseconds * 1_000_000
                waiting.pop().callback(None)
                self.network.wait(1)
            self.assertEqual("commit" in self.spans, milliseconds > 50)
        self.assertEqual(self.spans["commit"].end_time - self.spans["commit"].start_time, 51_000_000)

    def test_refused(self) -> None:
        """A request that is refused before it is recorded has no span."""
        client = self.connect()
        client.send("POST", MESSAGES.path, b"no JSON")
        self.network.wait(2)
        self.assertEqual((client.answer.status, self.spans), (400, {}))

    def test_other_settings(self) -> None:
        """The spans of a tracer that is replaced are exported when its last exchange is over."""
        self.provider.say(Reply(text="a word and another " * 20))
        client = self.ask(MESSAGES, stream=True)
        self.network.wait(0.05)
        self.bridge.apply(evolve(self.bridge.settings, tracer=None))
        self.network.wait(0.9)
        self.assertTrue(client.answer.whole)
        self.assertIn("chat model-1", self.spans)
