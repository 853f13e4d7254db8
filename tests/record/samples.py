"""Records as an exchange makes them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from aibridge.record.records import (
    BYOK,
    COMPLETED,
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    PromptUsageRecord,
    Record,
    TokenUsageRecord,
    ToolUsageRecord,
)

NOON = datetime(2026, 1, 31, 12, 0, 0, 123456, UTC)


def interception(**changes: Any) -> InterceptionRecord:
    values: dict[str, Any] = {
        "id": uuid4(),
        "initiator_id": "alice",
        "provider": "anthropic",
        "provider_name": "anthropic",
        "model": "claude-sonnet-4-5",
        "client": "Claude Code",
        "started_at": NOON,
        "streaming": True,
        "upstream_requests": 1,
        "credential_kind": BYOK,
        "credential_hint": "sk-a…xy",
        "client_session_id": "session",
        "user_agent": "claude-cli/2.0",
        "correlating_tool_call_id": "toolu_1",
        "metadata": {"team": "core"},
    }
    return InterceptionRecord(**values | changes)


def ended(of: UUID, **changes: Any) -> InterceptionRecordEnded:
    values: dict[str, Any] = {
        "id": of,
        "ended_at": NOON + timedelta(seconds=2),
        "status": COMPLETED,
        "http_status": 200,
        "upstream_requests": 1,
        "first_byte_ms": 250.0,
    }
    return InterceptionRecordEnded(**values | changes)


def token_usage(of: UUID, **changes: Any) -> TokenUsageRecord:
    values = _child(of) | {
        "provider_response_id": "msg_1",
        "served_model": "claude-sonnet-4-5-20250929",
        "service_tier": "priority",
        "price_version": "table 1",
        "input_tokens": 11,
        "output_tokens": 7,
        "cache_read_input_tokens": 5,
        "cache_write_input_tokens": 3,
        "cost_nanousd": 1_234_567_890_123,
        "metadata": {"complete": True, "reasoning_tokens": 2},
    }
    return TokenUsageRecord(**values | changes)


def prompt(of: UUID, **changes: Any) -> PromptUsageRecord:
    values = _child(of) | {"provider_response_id": "msg_1", "prompt": "Grüße 👋"}
    return PromptUsageRecord(**values | changes)


def tool_usage(of: UUID, **changes: Any) -> ToolUsageRecord:
    values = _child(of) | {
        "provider_response_id": "msg_1",
        "tool_call_id": "toolu_1",
        "tool": "ask",
        "input": {"question": ["why", 1, None, True, 0.5]},
        "injected": True,
        "server_url": "https://mcp.example/mcp",
        "invocation_error": "it broke",
        "output": "text",
        "duration_ms": 12.5,
    }
    return ToolUsageRecord(**values | changes)


def thought(of: UUID, **changes: Any) -> ModelThoughtRecord:
    values = _child(of) | {"content": "hm", "metadata": {"source": "thinking"}}
    return ModelThoughtRecord(**values | changes)


def exchange() -> list[Record]:
    """One record of each kind, in the order in which they are made."""
    begun = interception()
    of = begun.id
    return [begun, token_usage(of), prompt(of), tool_usage(of), thought(of), ended(of)]


def _child(of: UUID) -> dict[str, Any]:
    return {"id": uuid4(), "interception_id": of, "created_at": NOON + timedelta(seconds=1)}
