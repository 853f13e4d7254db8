"""Rows put together again: one value for all that was recorded of an exchange."""

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from aibridge.record.records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    PromptUsageRecord,
    Record,
    TokenUsageRecord,
    ToolUsageRecord,
)
from aibridge.testing import MemoryRecorder, Reply

from ..record.databases import stored
from .apis import Api

_IN_MEMORY = {
    InterceptionRecord: "interceptions",
    InterceptionRecordEnded: "ended",
    TokenUsageRecord: "token_usages",
    PromptUsageRecord: "prompts",
    ToolUsageRecord: "tool_usages",
    ModelThoughtRecord: "thoughts",
}


@frozen
class Exchange:
    """What was recorded of one request."""

    begun: InterceptionRecord
    ended: InterceptionRecordEnded | None
    usages: Sequence[TokenUsageRecord]
    prompts: Sequence[PromptUsageRecord]
    tools: Sequence[ToolUsageRecord]
    thoughts: Sequence[ModelThoughtRecord]

    @property
    def response_id(self) -> str | None:
        """The provider's id of the answer."""
        return self.usages[0].provider_response_id if self.usages else None

    @property
    def end(self) -> tuple[str, int | None]:
        """Status and HTTP status."""
        assert self.ended is not None
        return self.ended.status, self.ended.http_status

    @property
    def figures(self) -> dict[str, Any]:
        """The one row of figures, without what every row has."""
        [row] = self.usages
        names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens", "metadata")
        return {name: getattr(row, name) for name in names}

    def faults(self, api: Api, reply: Reply, prompt: str) -> list[str]:
        """What of these rows differs from what the provider says it sent; empty where all is right."""
        calls = [(call.id, call.name, call.arguments) for call in reply.tool_calls]
        pairs = {
            "figures": (self.figures, api.usage(reply)),
            "response id": (self.response_id, reply.id),
            "prompts": ([row.prompt for row in self.prompts], [prompt]),
            "tools": ([(row.tool_call_id, row.tool, row.input) for row in self.tools], calls),
            "thoughts": ([(row.content, row.metadata["source"]) for row in self.thoughts], api.thoughts(reply)),
            "end": (self.end, ("completed", 200)),
        }
        return [f"{name}: {found!r} is not {wanted!r}" for name, (found, wanted) in pairs.items() if found != wanted]


def in_memory(recorder: MemoryRecorder) -> list[Exchange]:
    """The exchanges that a recorder in memory has, in their order."""
    return _exchanges(lambda kind: list(getattr(recorder, _IN_MEMORY[kind]).values()))


def in_database(url: str) -> list[Exchange]:
    """Those that are in a database, read by a connection of its own."""
    return _exchanges(lambda kind: stored(url, kind))


def _exchanges(kept: Callable[[type[Record]], list[Any]]) -> list[Exchange]:
    rows = {kind: kept(kind) for kind in _IN_MEMORY}
    ended = {row.id: row for row in rows[InterceptionRecordEnded]}

    def of(interception: InterceptionRecord, kind: type[Record]) -> list[Any]:
        return [row for row in rows[kind] if row.interception_id == interception.id]

    belongings = (TokenUsageRecord, PromptUsageRecord, ToolUsageRecord, ModelThoughtRecord)
    begun = sorted(rows[InterceptionRecord], key=lambda row: row.started_at)
    return [Exchange(each, ended.get(each.id), *(of(each, kind) for kind in belongings)) for each in begun]
