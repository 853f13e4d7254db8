"""What one interception adds to the metrics, and the one log event at its end."""

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from .metrics import Metrics
from .record.records import InterceptionRecord, InterceptionRecordEnded
from .wire.formats import Answer
from .wire.usage import TokenFigures

_log = Logger()
# A sum of other counters, which would be counted twice.
_SUMS = ("total_tokens",)


class Tally:
    """Counts one interception, from its acceptance to its last byte. Times are in seconds."""

    def __init__(self, metrics: Metrics, clock: IReactorTime, record: InterceptionRecord, route: str) -> None:
        self._metrics = metrics
        self._now = clock.seconds
        self._record = record
        self._route = route
        self._model = metrics.model(record.model)
        self._began = self._asked = self._answered = clock.seconds()
        self._inflight = metrics.inflight.labels(record.provider_name, self._model, route)
        self._inflight.inc()

    def asked(self) -> None:
        """The provider has been asked."""
        self._asked = self._answered = self._now()

    def began_to_answer(self) -> None:
        """The provider's first byte is here."""
        first_byte = self._metrics.first_byte.labels(self._record.provider_name, self._model)
        first_byte.observe(self._now() - self._began)

    def answered(self) -> None:
        """The provider's last byte is here."""
        self._answered = self._now()

    def end(self, ended: InterceptionRecordEnded, answer: Answer | None, figures: TokenFigures, prompted: bool) -> None:
        """It is over: counts everything and logs it, in figures only."""
        self._inflight.dec()
        duration = self._now() - self._began
        overhead = duration - (self._answered - self._asked)
        self._count_exchange(ended.status, duration, overhead)
        self._count_contents(answer, figures, prompted)
        _log.info(
            "{client} {provider}{route} {model}: {status} {http_status}, {input_tokens}+{cache_read} in, "
            "{output_tokens} out, {tool_calls} tool calls, {seconds:.3f} s ({interception})",
            interception=str(ended.id),
            actor=self._record.initiator_id,
            client=self._record.client,
            provider=self._record.provider_name,
            route=self._route,
            model=self._record.model,
            status=ended.status,
            http_status=ended.http_status,
            error=ended.error,
            input_tokens=figures.input,
            output_tokens=figures.output,
            cache_read=figures.cache_read,
            cache_write=figures.cache_write,
            tool_calls=len(answer.tool_calls) if answer else 0,
            seconds=duration,
            overhead=overhead,
        )

    def _count_exchange(self, status: str, duration: float, overhead: float) -> None:
        record, metrics = self._record, self._metrics
        metrics.interceptions.labels(
            record.provider_name, self._model, status, self._route, "POST", record.initiator_id, record.client
        ).inc()
        metrics.duration.labels(record.provider_name, self._model).observe(duration)
        metrics.overhead.labels(record.provider_name).observe(overhead)

    def _count_contents(self, answer: Answer | None, figures: TokenFigures, prompted: bool) -> None:
        record, metrics, model = self._record, self._metrics, self._model
        who = (record.initiator_id, record.client)
        if prompted:
            metrics.prompts.labels(record.provider_name, model, *who).inc()
        for kind, count in _kinds(figures):
            metrics.tokens.labels(record.provider_name, model, kind, *who).inc(count)
        for call in answer.tool_calls if answer else ():
            metrics.client_tools.labels(record.provider_name, model, metrics.tool(call.name)).inc()


def _kinds(figures: TokenFigures) -> list[tuple[str, int]]:
    """Figures by their label; kinds without any leave no trace."""
    kinds = {
        "input": figures.input,
        "output": figures.output,
        "cache_read_input_tokens": figures.cache_read,
        "cache_write_input_tokens": figures.cache_write,
        **figures.others,
    }
    return [(kind, count) for kind, count in kinds.items() if count and kind not in _SUMS]
