"""The metrics of one interception, and the log event at its end."""

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from .costs.calculator import Bill
from .costs.prices import NANODOLLARS
from .interfaces import ITrace
from .json_log import EVENT
from .logs import log_summary
from .metrics import Metrics, Subject
from .record.ledger import RoundResult
from .record.records import InterceptionRecord, InterceptionRecordEnded
from .record.values import text_of_int
from .wire.tool_calls import ToolResult
from .wire.usage import TokenCounts

_log = Logger()
PROVIDER_ERROR = "ProviderError"
"""The class of errors that the provider told."""
# A sum of other counters, which would be counted twice.
_SUMS = ("total_tokens",)


class InterceptionMetrics:
    """Counts one interception, from its acceptance to its last byte. Times are in seconds."""

    def __init__(
        self,
        metrics: Metrics,
        clock: IReactorTime,
        record: InterceptionRecord,
        route: str,
        request_id: str | None = None,
        trace: ITrace | None = None,
    ) -> None:
        self.error_class = PROVIDER_ERROR
        """The class of the error, if the exchange ends with one."""
        self._request_id = request_id
        self._trace = trace
        self._now = clock.seconds
        self._all = metrics.series
        self._subject = Subject(record.provider_name, record.model, route, record.initiator_id, record.client)
        self._series = self._all[self._subject]
        self._began = self._sent = self._received = clock.seconds()
        self._waited = 0.0
        self._figures: list[TokenCounts] = []
        self._tool_calls = 0
        self._cost: int | None = None
        """Nanodollars; None where prices are off, or the cost is not known."""
        self._is_unpriced = False
        self.first_byte_ms: float | None = None
        """Milliseconds to the head of the first round's response; None until it is here."""
        self._series.inflight.value += 1

    def move(self, record: InterceptionRecord) -> None:
        """Count the interception for the provider that its record names now."""
        self._series.inflight.value -= 1
        self._subject = self._subject._replace(provider=record.provider_name)
        self._series = self._all[self._subject]
        self._series.inflight.value += 1
        if self._trace is not None:
            self._trace.move(record)

    @property
    def cost(self) -> int | None:
        """The nanodollars of all answers so far; None where prices are off, or a part of it is not known."""
        return None if self._is_unpriced else self._cost

    def request_sent(self) -> None:
        """A request goes to the provider."""
        self._waited += self._received - self._sent
        self._sent = self._received = self._now()

    def response_began(self) -> None:
        """The head of the provider's response is here. The client waits for that of the first round."""
        if not self._figures:
            seconds = self._now() - self._began
            self.first_byte_ms = seconds * 1000
            self._series.first_byte.observe(seconds)

    def received(self) -> None:
        """The provider's latest bytes are here."""
        self._received = self._now()

    def count(self, said: RoundResult) -> None:
        """Adds one answer of the provider's: its tokens, and the calls of the client's own tools."""
        if self._trace is not None:
            self._trace.round_ended(said)
        tokens, series = said.tokens, self._series
        billed = [tokens, *[step.tokens for step in tokens.beside]] if tokens.beside else [tokens]
        self._figures += billed
        for figures in billed:
            kinds = {
                **figures.others,
                "input": figures.input,
                "output": figures.output,
                "cache_read_input_tokens": figures.cache_read,
                "cache_write_input_tokens": figures.cache_write,
            }
            for kind, number in kinds.items():
                if number and kind not in _SUMS:  # kinds without any leave no trace
                    series.tokens[kind].value += number
        if said.bill is not None and not said.bill.is_subscription:
            self._count_costs(said.bill, billed)
        for call in said.answer.tool_calls:
            self._tool_calls += 1
            if call.id not in said.injected:
                series.client_tools[call.name].value += 1

    def _count_costs(self, bill: Bill, billed: Sequence[TokenCounts]) -> None:
        """Add the costs of an answer, or the tokens whose cost is not known."""
        for cost, tokens in zip(bill.costs, billed, strict=True):
            if cost is not None:
                self._cost = (self._cost or 0) + cost
                self._series.cost.value += cost / NANODOLLARS
            elif number := tokens.input + tokens.output + tokens.cache_read + tokens.cache_write:
                self._is_unpriced = True
                self._series.unpriced.value += number

    def count_tool_results(self, results: Sequence[ToolResult]) -> None:
        """Add calls of the gateway's own tools."""
        if self._trace is not None:
            self._trace.tools_ended(results)
        for result in results:
            self._series.injected_tools[result.call.tool.server, result.call.tool.tool].value += 1

    def end(self, ended: InterceptionRecordEnded, prompted: bool = False) -> None:
        """Count the end of the exchange, and log it: its figures and its error, but no contents."""
        duration = self._now() - self._began
        overhead = duration - self._waited - (self._received - self._sent)
        series = self._series
        if prompted:
            series.prompts.value += 1
        series.inflight.value -= 1
        series.interceptions[ended.status].value += 1
        series.duration.observe(duration)
        series.overhead.observe(overhead)
        if self._trace is not None:
            cost = self.cost
            cost_usd = None if cost is None else cost / NANODOLLARS
            self._trace.end(ended, cost_usd, self.error_class if ended.error else None)
        self._log(ended, duration, overhead)

    def _log(self, ended: InterceptionRecordEnded, duration: float, overhead: float) -> None:
        figures = self._figures[0] if len(self._figures) == 1 else _total(self._figures)
        subject = self._subject
        cost_usd, cost_text = None, ""  # where prices are off
        if self._is_unpriced:
            cost_text = "cost unknown, "
        elif self._cost is not None:
            cost_usd = self._cost / NANODOLLARS
            cost_text = f"{cost_usd:.6f} USD, "
        log_summary(
            _log,
            f"{subject.client} {subject.provider}/{subject.route.lstrip('/')} {subject.model}: {ended.status} "
            f"{ended.http_status}, {figures.input}+{figures.cache_read} in, {figures.output} out, "
            f"{self._tool_calls} tool calls, {cost_text}{duration:.3f} s ({text_of_int(ended.id.int)}"
            + (")" if self._request_id is None else f", request {self._request_id})")
            + (f": {ended.error}" if ended.error else ""),
            {
                EVENT: "interception_ended",
                "interception": ended.id,
                "request_id": self._request_id,
                "trace_id": None if self._trace is None else self._trace.trace_id,
                "actor": subject.initiator_id,
                "client": subject.client,
                "provider": subject.provider,
                "route": subject.route,
                "model": subject.model,
                "status": ended.status,
                "http_status": ended.http_status,
                "error": ended.error,
                "error_class": self.error_class if ended.error else None,
                "input_tokens": figures.input,
                "output_tokens": figures.output,
                "cache_read_input_tokens": figures.cache_read,
                "cache_write_input_tokens": figures.cache_write,
                "tool_calls": self._tool_calls,
                "cost_usd": cost_usd,
                "seconds": round(duration, 6),
                "overhead": round(overhead, 6),
            },
        )


def _total(figures: Sequence[TokenCounts]) -> TokenCounts:
    """Return the main token counts of all rounds together."""
    return TokenCounts(
        input=sum(counts.input for counts in figures),
        output=sum(counts.output for counts in figures),
        cache_read=sum(counts.cache_read for counts in figures),
        cache_write=sum(counts.cache_write for counts in figures),
    )
