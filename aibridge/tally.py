"""What one interception adds to the metrics, and the one log event at its end."""

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from .metrics import Metrics, Subject
from .record.records import InterceptionRecord, InterceptionRecordEnded
from .wire.formats import Answer
from .wire.usage import TokenFigures

_log = Logger()
# A sum of other counters, which would be counted twice.
_SUMS = ("total_tokens",)


class Tally:
    """Counts one interception, from its acceptance to its last byte. Times are in seconds."""

    def __init__(self, metrics: Metrics, clock: IReactorTime, record: InterceptionRecord, route: str) -> None:
        self._now = clock.seconds
        self._subject = Subject(record.provider_name, record.model, route, record.initiator_id, record.client)
        self._series = metrics.series[self._subject]
        self._began = self._asked = self._answered = clock.seconds()
        self._series.inflight.inc()

    def asked(self) -> None:
        """The provider has been asked."""
        self._asked = self._answered = self._now()

    def began_to_answer(self) -> None:
        """The provider's first byte is here."""
        self._series.first_byte.observe(self._now() - self._began)

    def answered(self) -> None:
        """The provider's last byte is here."""
        self._answered = self._now()

    def end(self, ended: InterceptionRecordEnded, answer: Answer | None, figures: TokenFigures, prompted: bool) -> None:
        """It is over: counts everything and logs it, in figures only."""
        duration = self._now() - self._began
        overhead = duration - (self._answered - self._asked)
        self._count(ended.status, duration, overhead)
        self._count_contents(answer, figures, prompted)
        self._log(ended, figures, len(answer.tool_calls) if answer else 0, duration, overhead)

    def _count(self, status: str, duration: float, overhead: float) -> None:
        series = self._series
        series.inflight.dec()
        series.interceptions[status].inc()
        series.duration.observe(duration)
        series.overhead.observe(overhead)

    def _count_contents(self, answer: Answer | None, figures: TokenFigures, prompted: bool) -> None:
        series = self._series
        if prompted:
            series.prompts.inc()
        for kind, count in _kinds(figures):
            series.tokens[kind].inc(count)
        for call in answer.tool_calls if answer else ():
            series.client_tools[call.name].inc()

    def _log(
        self, ended: InterceptionRecordEnded, figures: TokenFigures, tool_calls: int, duration: float, overhead: float
    ) -> None:
        subject = self._subject
        # One field in the format: the formatter's price goes by their number.
        _log.info(
            "{summary}",
            summary=f"{subject.client} {subject.provider}{subject.route} {subject.model}: {ended.status} "
            f"{ended.http_status}, {figures.input}+{figures.cache_read} in, {figures.output} out, "
            f"{tool_calls} tool calls, {duration:.3f} s ({ended.id})",
            interception=ended.id,
            actor=subject.initiator_id,
            client=subject.client,
            provider=subject.provider,
            route=subject.route,
            model=subject.model,
            status=ended.status,
            http_status=ended.http_status,
            error=ended.error,
            input_tokens=figures.input,
            output_tokens=figures.output,
            cache_read_input_tokens=figures.cache_read,
            cache_write_input_tokens=figures.cache_write,
            tool_calls=tool_calls,
            seconds=duration,
            overhead=overhead,
        )


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
