"""The recorder alone: exchanges made durable a second, and the time that a lone exchange waits."""

import os
import statistics
from time import perf_counter
from typing import Any
from uuid import UUID

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults

from aibridge.record.records import (
    CENTRALIZED,
    COMPLETED,
    InterceptionRecord,
    InterceptionRecordEnded,
    TokenUsageRecord,
)
from aibridge.record.values import new_id, utc_now
from aibridge.recorder import SQLRecorder

AT_ONCE = 64
LONE_EXCHANGES = 300


@frozen
class Inserts:
    """Exchanges a second with many at once, and the median seconds of a lone exchange's two commits."""

    per_second: float
    lone: float


async def measure(url: str, seconds: float, reactor: Any) -> Inserts:
    """Measure a recorder on this database."""
    recorder = SQLRecorder(url, reactor=reactor)
    await recorder.startService()
    try:
        await _rate(recorder, seconds / 5)  # to fill pools and caches
        return Inserts(await _rate(recorder, seconds), await _lone(recorder))
    finally:
        await recorder.stopService()


async def _rate(recorder: SQLRecorder, seconds: float) -> float:
    end = perf_counter() + seconds
    counts = await gatherResults([Deferred.fromCoroutine(_one_by_one(recorder, end)) for _ in range(AT_ONCE)])
    return sum(counts) / seconds


async def _one_by_one(recorder: SQLRecorder, end: float) -> int:
    count = 0
    while perf_counter() < end:
        await _exchange(recorder)
        count += 1
    return count


async def _lone(recorder: SQLRecorder) -> float:
    times = []
    for _ in range(LONE_EXCHANGES):
        begun = perf_counter()
        await _exchange(recorder)
        times.append(perf_counter() - begun)
    return statistics.median(times)


async def _exchange(recorder: SQLRecorder) -> None:
    """Record an interception and, once it is durable, its tokens and its end."""
    id_ = new_id()
    await recorder.record_interception(_interception(id_))
    await gatherResults([recorder.record_token_usage(_usage(id_)), recorder.record_interception_ended(_end(id_))])


def _interception(id_: UUID) -> InterceptionRecord:
    """Return an interception with its own session and tool call, so that the indexes grow at random places."""
    return InterceptionRecord(
        id=id_,
        initiator_id=f"user-{id_.int % 500}",
        provider="anthropic",
        provider_name="anthropic",
        model=f"model-{id_.int % 6}",
        client="Claude Code",
        started_at=utc_now(),
        streaming=True,
        credential_kind=CENTRALIZED,
        credential_hint="sk-a...xy",
        client_session_id=os.urandom(16).hex(),
        user_agent="claude-cli/2.0.14 (external, cli)",
        correlating_tool_call_id=f"toolu_{os.urandom(16).hex()}",
        metadata={"team": "core"},
    )


def _usage(id_: UUID) -> TokenUsageRecord:
    return TokenUsageRecord(
        id=new_id(),
        interception_id=id_,
        provider_response_id=f"msg_{os.urandom(16).hex()}",
        input_tokens=100,
        output_tokens=200,
        cache_read_input_tokens=50_000,
        cache_write_input_tokens=1_000,
        created_at=utc_now(),
        metadata={"complete": True},
    )


def _end(id_: UUID) -> InterceptionRecordEnded:
    return InterceptionRecordEnded(id=id_, ended_at=utc_now(), status=COMPLETED, http_status=200, upstream_requests=1)
