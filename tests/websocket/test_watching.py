"""Dumps and traces of requests on a WebSocket."""

import json
from pathlib import Path
from typing import Any

from attrs import evolve
from opentelemetry.sdk.trace.export import SpanExportResult
from twisted.internet.defer import maybeDeferred, succeed

from aibridge.dumps import providers
from aibridge.tracing import tracer
from aibridge.tracing.settings import TracingSettings
from aibridge.tracing.tracer import Tracer

from .gateway import SECRET, SocketTestCase


class WatchingTests(SocketTestCase):
    """Each request on a socket is an exchange, and watched as one over HTTP."""

    def test_dump(self) -> None:
        """Message and answer are dumped, without a secret; each exchange has a directory of its own."""
        folder = Path(self.mktemp())
        self.network.getThreadPool = lambda: None  # type: ignore[attr-defined]
        self.patch(providers, "deferToThreadPool", lambda reactor, pool, call: maybeDeferred(call))
        self.start({"dump_dir": str(folder)})
        client = self.connect()
        for _ in range(2):
            client.create(f"my key is {SECRET}")
            self.network.settle()
        self.successResultOf(self.bridge._interceptors.dumps.flush())
        dumps = sorted(folder.glob("*/*"))
        self.assertEqual([path.name for path in dumps], [str(each.begun.id) for each in self.exchanges])
        for path in dumps:
            request, answer = ((path / name).read_bytes().partition(b"\r\n\r\n")[2] for name in ("request", "answer"))
            self.assertEqual(json.loads(request)["type"], "response.create")
            self.assertIn(b'"response.completed"', answer)
            self.assertNotIn(SECRET.encode(), (path / "request").read_bytes() + answer)

    def test_trace(self) -> None:
        """Each exchange has its spans."""
        spans: list[Any] = []
        self.patch(tracer, "in_daemon_thread", lambda reactor, call: succeed(call()))

        class Exporter:
            def export(self, batch: Any) -> SpanExportResult:
                spans.extend(batch)
                return SpanExportResult.SUCCESS

        traced = Tracer(TracingSettings(sample_ratio=1.0), self.bridge.metrics, self.network, Exporter())  # type: ignore[arg-type]
        self.bridge.apply(evolve(self.bridge.settings, tracer=traced))
        client = self.connect()
        client.create("Hi")
        self.network.wait(2)
        chat, server = spans
        self.assertEqual((server.name.split()[0], chat.name.split()[0]), ("POST", "chat"))
        self.assertEqual(chat.attributes["gen_ai.usage.input_tokens"], 120)
        self.assertEqual(server.attributes["aibridge.interception.id"], str(self.exchange.begun.id))
