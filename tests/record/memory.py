"""The public recorder in memory, for the tests that need one."""

from twisted.trial.unittest import TestCase

from aibridge.record.records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    PromptUsageRecord,
    Record,
    TokenUsageRecord,
    ToolUsageRecord,
)
from aibridge.testing import MemoryRecorder

TABLES: dict[type[Record], str] = {
    InterceptionRecord: "interceptions",
    InterceptionRecordEnded: "ended",
    TokenUsageRecord: "token_usages",
    PromptUsageRecord: "prompts",
    ToolUsageRecord: "tool_usages",
    ModelThoughtRecord: "thoughts",
}


class OnMemory(TestCase):
    """A new recorder in memory for each test."""

    def setUp(self) -> None:
        self.memory = self.recorder = MemoryRecorder()

    def kept(self, kind: type[Record]) -> list[Record]:
        return list(getattr(self.memory, TABLES[kind]).values())
