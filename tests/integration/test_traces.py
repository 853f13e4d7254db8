"""A gateway's process that exports its traces to a collector, which speaks OTLP over HTTP."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from twisted.internet import error, reactor
from twisted.web.resource import Resource

from aibridge.testing import LoopbackServer

from ..chain.apis import MESSAGES
from ..chain.exchanges import in_database
from .gateway import GatewayTestCase
from .test_process import LISTENERS, ROOT, Gateway

RUN = "import sys; from twisted.scripts.twistd import run; run()"
COMMAND = [sys.executable, "-c", RUN, "-n", "aibridge", "--demo", *LISTENERS, "--config", "aibridge.toml"]
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector(Resource):
    """A collector that keeps the spans it gets, or takes none."""

    isLeaf = True

    def __init__(self, status: int = 200) -> None:
        super().__init__()
        self.status = status
        self.paths: list[bytes] = []
        self.authorizations: list[list[str]] = []
        self.resources: list[dict[str, str]] = []
        self.spans: list[Any] = []

    def render_POST(self, request: Any) -> bytes:
        request.setResponseCode(self.status)
        request.setHeader("content-type", "application/x-protobuf")
        if self.status != 200:
            return b""
        self.paths.append(request.path)
        self.authorizations.append(request.requestHeaders.getRawHeaders("authorization", []))
        for resource in ExportTraceServiceRequest.FromString(request.content.read()).resource_spans:
            self.resources.append({each.key: each.value.string_value for each in resource.resource.attributes})
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return b""


class CollectorTests(GatewayTestCase):
    """A process, from its start to its end."""

    async def start_gateway(self, otel: str, environment: dict[str, str]) -> Gateway:
        """The gateway with this section of its configuration; its process ends with the test."""
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        (folder / "aibridge.toml").write_text(otel)
        self.database = f"sqlite:///{folder.absolute()}/aibridge-demo.sqlite"
        gateway = Gateway()
        self.process = reactor.spawnProcess(
            gateway, COMMAND[0], COMMAND, env=os.environ | {"PYTHONPATH": ROOT} | environment, path=str(folder)
        )

        async def end() -> None:
            try:
                self.process.signalProcess("KILL")
            except error.ProcessExitedAlready:
                return
            await gateway.ended

        self.addCleanup(end)
        self.url = (await gateway.announced)["gateway"]
        return gateway

    async def serve(self, collector: Collector) -> str:
        """The URL of a collector."""
        server = LoopbackServer(reactor, collector)
        self.addCleanup(server.stop)
        return await server.start()

    async def ask_traced(self) -> None:
        """An exchange that belongs to a client's trace."""
        client = await self.connect(self.url)
        client.send("POST", MESSAGES.path, MESSAGES.body(), {"traceparent": PARENT})
        await client.done()
        self.assertEqual(client.answer.status, 200)

    async def test_exported(self) -> None:
        """Spans reach the collector at the end of the process at the latest; its address is that of the environment."""
        collector = Collector()
        url = await self.serve(collector)
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20token",
            "OTEL_SERVICE_NAME": "my-gateway",
        }
        gateway = await self.start_gateway("[otel]\nsample_ratio = 0.0\n", environment)
        await self.ask_traced()
        os.kill(self.process.pid, signal.SIGTERM)
        self.assertEqual(await gateway.ended, 0, gateway.printed)
        spans = {span.name: span for span in collector.spans}
        self.assertEqual({*spans}, {f"POST {MESSAGES.path}", "chat model-1"})
        self.assertEqual({*collector.paths}, {b"/v1/traces"})
        self.assertEqual(collector.authorizations[0], ["Bearer token"])
        self.assertEqual(collector.resources[0]["service.name"], "my-gateway")
        server = spans[f"POST {MESSAGES.path}"]
        self.assertEqual(server.trace_id.hex() + server.parent_span_id.hex(), PARENT[3:-3].replace("-", ""))
        attributes = {each.key: each.value.string_value for each in server.attributes}
        [exchange] = in_database(self.database)
        self.assertEqual(attributes["aibridge.interception.id"], str(exchange.begun.id))

    async def test_no_collector(self) -> None:
        """A collector that takes nothing costs no request anything, and the end of the process two seconds at most."""
        url = await self.serve(Collector(status=503))
        gateway = await self.start_gateway(f'[otel]\nendpoint = "{url}"\nsample_ratio = 1.0\n', {})
        for _ in range(3):
            await self.ask_traced()
        os.kill(self.process.pid, signal.SIGTERM)
        self.assertEqual(await gateway.ended, 0, gateway.printed)
        self.assertEqual(len(in_database(self.database)), 3)
