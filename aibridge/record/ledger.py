"""The ledger of one interception: makes its records as the exchange goes on, and hands them to the recorder."""

from collections.abc import Container, Iterable, Mapping
from datetime import datetime
from uuid import UUID

from attrs import define, field
from twisted.internet.defer import Deferred

from ..costs.calculator import Bill
from ..wire.formats import Answer, parse_arguments
from ..wire.tool_calls import ToolResult
from ..wire.usage import TokenCounts
from .batches import RecordAll
from .records import (
    INVOKED_MODEL,
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    PromptUsageRecord,
    Record,
    TokenUsageRecord,
    ToolUsageRecord,
)
from .values import new_id, utc_now


@define(eq=False)
class RoundResult:
    """The answer of one round and its tokens, as far as the answer has been read."""

    answer: Answer
    tokens: TokenCounts
    injected: Container[str | None] = ()
    """The ids of calls of injected tools: they are recorded once the gateway has run them."""
    bill: Bill | None = None
    """The costs of the answer; None where prices are off."""


@define(eq=False)
class Ledger:
    """Records one interception. An id is given once to each row, so a row written early is replaced by its final form.

    Every method's Deferred fires when its rows are durable, and fails with RecordingError if one of them can't be.
    """

    record_all: RecordAll
    interception_id: UUID
    prompt: str | None
    _usage_id: UUID | None = field(default=None, kw_only=True)
    _iteration_ids: list[UUID] = field(factory=list, init=False)
    """The ids of the rows of steps that are billed beside the answer."""
    _prompt_id: UUID | None = field(default=None, init=False)
    _has_prompt: bool = field(default=False, init=False)
    """True once the prompt is recorded with the first answer; what was recorded earlier of it may have failed."""

    def record_begin(self, interception: InterceptionRecord) -> "Deferred[None]":
        """Record that the interception begins. The provider must not be called before this is durable."""
        return self.record_all([interception])

    def record_progress(self, interception: InterceptionRecord, result: RoundResult) -> "Deferred[None]":
        """Record the tokens so far of an answer that takes long, so that a crash doesn't lose them.

        The interception's record says what the provider was asked until now.
        """
        now = utc_now()
        records = [*self._prompt_record(result.answer, now), *self._usage_records(result, now)]
        return self.record_all([interception, *records])

    def record_round(self, result: RoundResult, interception: InterceptionRecord | None = None) -> "Deferred[None]":
        """Record a whole answer after which the exchange goes on, and the interception as it is now."""
        records = self._round_records(result, utc_now())
        return self.record_all(records if interception is None else [interception, *records])

    def record_tool_results(self, answer: Answer, results: Iterable[ToolResult]) -> "Deferred[None]":
        """Record the injected tools that the gateway has run for an answer."""
        now = utc_now()
        return self.record_all([self._injected_record(answer, result, now) for result in results])

    def record_end(self, ended: InterceptionRecordEnded, result: RoundResult | None) -> "Deferred[None]":
        """Record the end, together with the last answer. Without an answer, the prompt is recorded all the same."""
        now = ended.ended_at
        records = self._prompt_record(None, now) if result is None else self._round_records(result, now)
        return self.record_all([*records, ended])

    def _round_records(self, result: RoundResult, now: datetime) -> list[Record]:
        """Return all records of an answer; the next answer has its own."""
        answer = result.answer
        records: list[Record] = [*self._prompt_record(answer, now), *self._usage_records(result, now)]
        if answer.tool_calls:
            records += self._tool_records(result, now)
        if answer.thoughts:
            records += self._thought_records(answer, now)
        self._usage_id, self._iteration_ids = None, []
        self._has_prompt = True
        return records

    def _prompt_record(self, answer: Answer | None, now: datetime) -> list[Record]:
        """Return the record of the prompt, unless there is none or it is recorded already."""
        if self.prompt is None or self._has_prompt:
            return []
        self._prompt_id = self._prompt_id or new_id()
        record = PromptUsageRecord(
            id=self._prompt_id,
            interception_id=self.interception_id,
            provider_response_id=answer.response_id if answer else None,
            prompt=self.prompt,
            created_at=now,
        )
        return [record]

    def _usage_records(self, result: RoundResult, now: datetime) -> list[TokenUsageRecord]:
        """Return the record of the answer's tokens, and one for each step that is billed beside them."""
        answer, tokens = result.answer, result.tokens
        self._usage_id = self._usage_id or new_id()
        costs = result.bill.costs if result.bill is not None else [None] * (1 + len(tokens.beside))
        first = self._usage_record(self._usage_id, result, answer.served_model, tokens, tokens.details, costs[0], now)
        records = [first]
        for number, step in enumerate(tokens.beside):
            if number == len(self._iteration_ids):
                self._iteration_ids.append(new_id())
            details = {**step.tokens.details, "iteration": step.kind}
            id_ = self._iteration_ids[number]
            cost = costs[number + 1]
            records.append(self._usage_record(id_, result, step.model, step.tokens, details, cost, now))
        return records

    def _usage_record(
        self,
        id_: UUID,
        result: RoundResult,
        model: str | None,
        tokens: TokenCounts,
        details: Mapping[str, object],
        cost: int | None,
        now: datetime,
    ) -> TokenUsageRecord:
        answer, bill, words = result.answer, result.bill, tokens.words
        metadata = {**tokens.others, **details, "complete": answer.finished}
        if bill is not None and bill.is_subscription:
            metadata["billing"] = "subscription"
        if bill is not None and bill.invoked:
            metadata[INVOKED_MODEL] = bill.invoked
        return TokenUsageRecord(
            id=id_,
            interception_id=self.interception_id,
            provider_response_id=answer.response_id,
            served_model=model,
            service_tier=answer.service_tier or words.get("service_tier"),
            speed=words.get("speed"),
            inference_geo=words.get("inference_geo"),
            price_version=bill.version if bill is not None and cost is not None else None,
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            cache_read_input_tokens=tokens.cache_read,
            cache_write_input_tokens=tokens.cache_write,
            cost_nanousd=cost,
            metadata=metadata,
            created_at=now,
        )

    def _tool_records(self, result: RoundResult, now: datetime) -> list[ToolUsageRecord]:
        """Return the records of the client's own tools that the model called."""
        return [
            ToolUsageRecord(
                id=new_id(),
                interception_id=self.interception_id,
                provider_response_id=result.answer.response_id,
                tool_call_id=call.id,
                tool=call.name,
                input=call.input,
                metadata=call.metadata,
                created_at=now,
            )
            for call in result.answer.tool_calls
            if call.id not in result.injected
        ]

    def _injected_record(self, answer: Answer, result: ToolResult, now: datetime) -> ToolUsageRecord:
        call = result.call
        return ToolUsageRecord(
            id=new_id(),
            interception_id=self.interception_id,
            provider_response_id=answer.response_id,
            tool_call_id=call.id,
            tool=call.tool.tool,
            input=parse_arguments(call.arguments),
            injected=True,
            server_url=call.tool.server_url,
            invocation_error=result.error,
            output=list(result.content),
            duration_ms=result.duration_ms,
            created_at=now,
        )

    def _thought_records(self, answer: Answer, now: datetime) -> list[ModelThoughtRecord]:
        return [
            ModelThoughtRecord(
                id=new_id(),
                interception_id=self.interception_id,
                content=thought.content,
                metadata={"source": thought.source},
                created_at=now,
            )
            for thought in answer.thoughts
        ]
