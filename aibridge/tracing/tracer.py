"""Traces of interceptions, with OpenTelemetry's packages: they are imported here, and only where traces are configured.

A trace decides at its beginning if it is sampled. One that is not costs no more than that decision.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from time import time_ns
from typing import Any

from attrs import define, field
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from twisted.internet.defer import Deferred
from zope.interface import implementer

from .. import __version__
from ..http.client_request import split_uri
from ..http.headers import RawHeaders
from ..interfaces import ITrace, ITracer
from ..metrics import Metrics
from ..record.batches import RecordAll
from ..record.ledger import RoundResult
from ..record.records import FAILED, InterceptionRecord, InterceptionRecordEnded, Record
from ..record.values import storable
from ..upstream.call import UpstreamCall
from ..wire.tool_calls import ToolResult
from . import names
from .export import SpanQueue, in_daemon_thread
from .settings import TracingSettings

Attributes = Mapping[str, str | int | float | bool]

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SLOW_COMMIT = 50_000_000
"""Nanoseconds; quicker commits have no span."""
_LONGEST_CONTENT = 64 * 1024
_SCOPE = InstrumentationScope("aibridge", __version__)
_W3C = TraceContextTextMapPropagator()
_TRACEPARENT = "traceparent"
_TRACESTATE = "tracestate"


@implementer(ITracer)
class Tracer:
    """Traces interceptions. Spans are exported off the reactor's thread."""

    def __init__(
        self, settings: TracingSettings, metrics: Metrics, reactor: Any, exporter: SpanExporter | None = None
    ) -> None:
        self.has_content = settings.content
        exporter = exporter or OTLPSpanExporter(endpoint=settings.traces_url)
        self._queue = SpanQueue(exporter, metrics, reactor, partial(in_daemon_thread, reactor))
        self._sampler = ParentBasedTraceIdRatio(settings.sample_ratio)
        self._ids = RandomIdGenerator()
        self._resource = _resource()

    def begin(self, headers: RawHeaders, record: InterceptionRecord, route: str, prompt: str | None) -> "Trace | None":
        """See `ITracer`. A client's own decision, in its ``traceparent``, stands."""
        context = parent = None
        if given := headers.by_name.get(b"traceparent"):
            states = headers.by_name.get(b"tracestate", ())
            carrier = {_TRACEPARENT: given[0].decode("latin-1"), _TRACESTATE: b",".join(states).decode("latin-1")}
            context = _W3C.extract(carrier)
            found = get_current_span(context).get_span_context()
            parent = found if found.is_valid else None
        trace_id = parent.trace_id if parent is not None else self._ids.generate_trace_id()
        if not self._sampler.should_sample(context, trace_id, route).decision.is_sampled():
            return None
        return Trace(self, self.new_span(trace_id), parent, record, route, prompt if self.has_content else None)

    def flush(self) -> "Deferred[None]":
        """See `ITracer`."""
        return self._queue.flush()

    def new_span(self, trace_id: int) -> SpanContext:
        """Return the context of a new span of a trace."""
        return SpanContext(trace_id, self._ids.generate_span_id(), is_remote=False, trace_flags=_SAMPLED)

    def export(
        self,
        name: str,
        kind: SpanKind,
        context: SpanContext,
        parent: SpanContext | None,
        times: tuple[int, int],
        attributes: Attributes,
        error: str | None = None,
    ) -> None:
        """Export a span that is over. Lone surrogates in its texts are escaped: they can't be sent.

        :param times: its begin and its end, in nanoseconds.
        :param error: the class of the error with which it ended, if any.
        """
        if error is not None:
            attributes = {**attributes, names.ERROR_TYPE: error}
        attributes = {key: storable(value) if type(value) is str else value for key, value in attributes.items()}
        self._queue.add(
            ReadableSpan(
                storable(name),
                context,
                parent,
                self._resource,
                attributes,
                kind=kind,
                status=Status(StatusCode.ERROR if error is not None else StatusCode.UNSET),
                start_time=times[0],
                end_time=times[1],
                instrumentation_scope=_SCOPE,
            )
        )


@define(eq=False)
class _Round:
    """The span of a round that is under way."""

    context: SpanContext
    began: int
    attributes: dict[str, str | int | float | bool]


@implementer(ITrace)
@define(eq=False)
class Trace:
    """The spans of one interception."""

    _tracer: Tracer
    _context: SpanContext
    _parent: SpanContext | None
    _record: InterceptionRecord
    _route: str
    _prompt: str | None
    """The prompt, until it is exported; None if it never is."""
    _began: int = field(factory=time_ns, init=False)
    _round: _Round | None = field(default=None, init=False)

    @property
    def trace_id(self) -> str:
        """See `ITrace`."""
        return f"{self._context.trace_id:032x}"

    def move(self, record: InterceptionRecord) -> None:
        """See `ITrace`."""
        self._record = record

    def round_began(self, call: UpstreamCall) -> None:
        """See `ITrace`."""
        self._end_round(None)  # the provider refused the one before, and is asked again
        context = self._tracer.new_span(self._context.trace_id)
        call.headers.setRawHeaders(_TRACEPARENT, [f"00-{context.trace_id:032x}-{context.span_id:016x}-{_SAMPLED:02x}"])
        origin, record = split_uri(call.url)[0], self._record
        attributes: dict[str, str | int | float | bool] = {
            names.OPERATION: names.CHAT,
            names.PROVIDER: names.PROVIDERS.get(record.provider, record.provider),
            names.PROVIDER_NAME: record.provider_name,
            names.REQUEST_MODEL: record.model,
            names.METHOD: "POST",
            names.SERVER_ADDRESS: origin.host,
            names.SERVER_PORT: origin.port,
        }
        if record.client_session_id is not None:
            attributes[names.CONVERSATION_ID] = record.client_session_id
        if self._prompt is not None:
            message = {"role": "user", "parts": [{"type": "text", "content": self._prompt[:_LONGEST_CONTENT]}]}
            attributes[names.INPUT_MESSAGES], self._prompt = json.dumps([message], ensure_ascii=False), None
        self._round = _Round(context, time_ns(), attributes)

    def round_responded(self, code: int) -> None:
        """See `ITrace`."""
        if self._round is not None:
            self._round.attributes[names.STATUS_CODE] = code

    def round_failed(self, error: Exception) -> None:
        """See `ITrace`."""
        self._end_round(type(error).__name__)

    def round_ended(self, result: RoundResult) -> None:
        """See `ITrace`."""
        if self._round is None:
            return
        answer, tokens, attributes = result.answer, result.tokens, self._round.attributes
        attributes |= {
            names.INPUT_TOKENS: tokens.input + tokens.cache_read + tokens.cache_write,
            names.OUTPUT_TOKENS: tokens.output,
            names.CACHE_READ_TOKENS: tokens.cache_read,
            names.CACHE_WRITE_TOKENS: tokens.cache_write,
        }
        if answer.response_id is not None:
            attributes[names.RESPONSE_ID] = answer.response_id
        if answer.served_model is not None:
            attributes[names.RESPONSE_MODEL] = answer.served_model
        self._end_round(answer.error)

    def _end_round(self, error: str | None) -> None:
        """Export the span of the round that is under way, if there is one."""
        current, self._round = self._round, None
        if current is None:
            return
        code = current.attributes.get(names.STATUS_CODE)
        if isinstance(code, int) and code >= 400:
            error = str(code)
        name, times = f"{names.CHAT} {self._record.model}", (current.began, time_ns())
        self._tracer.export(name, SpanKind.CLIENT, current.context, self._context, times, current.attributes, error)

    def tools_ended(self, results: Sequence[ToolResult]) -> None:
        """See `ITrace`. The tools of a round have run at the same time, and the last has just ended."""
        now = time_ns()
        began = now - int(max((result.duration_ms for result in results), default=0.0) * 1e6)
        for result in results:
            call = result.call
            attributes: dict[str, str | int | float | bool] = {
                names.OPERATION: names.EXECUTE_TOOL,
                names.TOOL_NAME: call.tool.name,
                names.TOOL_CALL_ID: call.id,
                names.TOOL_TYPE: "extension",
                names.TOOL_SERVER: call.tool.server,
            }
            if self._tracer.has_content:
                attributes[names.TOOL_ARGUMENTS] = call.arguments[:_LONGEST_CONTENT]
                attributes[names.TOOL_RESULT] = result.text[:_LONGEST_CONTENT]
            name, times = f"{names.EXECUTE_TOOL} {call.tool.name}", (began, began + int(result.duration_ms * 1e6))
            error = None if result.error is None else "tool_error"
            context = self._tracer.new_span(self._context.trace_id)
            self._tracer.export(name, SpanKind.INTERNAL, context, self._context, times, attributes, error)

    def watch_commits(self, record_all: RecordAll) -> RecordAll:
        """See `ITrace`."""

        def record(records: Sequence[Record]) -> "Deferred[None]":
            began, rows = time_ns(), len(records)

            def export(result: Any) -> Any:
                ended = time_ns()
                if ended - began > _SLOW_COMMIT:
                    context = self._tracer.new_span(self._context.trace_id)
                    attributes = {"aibridge.rows": rows}
                    times = (began, ended)
                    self._tracer.export("commit", SpanKind.INTERNAL, context, self._context, times, attributes)
                return result

            return record_all(records).addBoth(export)

        return record

    def end(self, ended: InterceptionRecordEnded, cost_usd: float | None, error_class: str | None) -> None:
        """See `ITrace`."""
        self._end_round(error_class)
        record = self._record
        attributes: dict[str, str | int | float | bool] = {
            names.METHOD: "POST",
            names.ROUTE: f"/{record.provider_name}{self._route}",
            names.INTERCEPTION: str(record.id),
            names.ACTOR: record.initiator_id,
            names.CLIENT: record.client,
            names.REQUEST_MODEL: record.model,
            names.PROVIDER_NAME: record.provider_name,
            names.STREAMING: record.streaming,
            names.STATUS: ended.status,
        }
        optional = (
            (names.STATUS_CODE, ended.http_status),
            (names.USER_AGENT, record.user_agent),
            (names.CONVERSATION_ID, record.client_session_id),
            (names.COST, cost_usd),
        )
        attributes |= {name: value for name, value in optional if value is not None}
        name, times = f"POST /{record.provider_name}{self._route}", (self._began, time_ns())
        error = error_class if ended.status == FAILED else None
        self._tracer.export(name, SpanKind.SERVER, self._context, self._parent, times, attributes, error)


def _resource() -> Resource:
    """Return the description of this process: the environment's, with the gateway's name where that gives none."""
    found = Resource.create()
    own = {SERVICE_VERSION: __version__}
    if str(found.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        own[SERVICE_NAME] = "aibridge"
    return found.merge(Resource(own))
