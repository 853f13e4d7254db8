"""What is kept of an exchange: plain values, one class for each table.

Every record carries an id that the gateway made. Recording the same id again *replaces* the row (a stream's token
figures grow until its end) or changes nothing, so a retry and a replay are always harmless.

Times are aware datetimes in UTC. ``metadata`` holds JSON values only.

On their way into rows they are looked at in one go: the fields that are text stand together, and there are no slots, so
that `vars` gives all values in their order.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from attrs import Factory, frozen

IN_PROGRESS = "in_progress"
COMPLETED = "completed"
FAILED = "failed"
CANCELLED = "cancelled"
INTERRUPTED = "interrupted"

BYOK = "byok"
CENTRALIZED = "centralized"


@frozen(kw_only=True, slots=False)
class InterceptionRecord:
    """A request that was accepted and is about to go to its provider."""

    id: UUID
    initiator_id: str
    provider: str
    """The provider's type, such as ``anthropic``."""
    provider_name: str
    """The name under which it is configured; the first segment of its routes."""
    model: str
    client: str
    credential_kind: str
    """`BYOK` (the client's own) or `CENTRALIZED` (the operator's)."""
    credential_hint: str | None = None
    client_session_id: str | None = None
    user_agent: str | None = None
    correlating_tool_call_id: str | None = None
    started_at: datetime
    streaming: bool
    metadata: Mapping[str, Any] = Factory(dict)


@frozen(kw_only=True, slots=False)
class InterceptionRecordEnded:
    """How the interception of that id ended."""

    id: UUID
    status: str
    """`COMPLETED`, `FAILED`, `CANCELLED` or `INTERRUPTED`."""
    error: str | None = None
    ended_at: datetime
    http_status: int | None = None
    """The status that the client got; None when it left before there was one."""
    upstream_requests: int = 0


@frozen(kw_only=True, slots=False)
class TokenUsageRecord:
    """The tokens of one provider's answer. ``input_tokens`` never includes those read from the cache."""

    id: UUID
    interception_id: UUID
    provider_response_id: str | None
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_write_input_tokens: int
    created_at: datetime
    metadata: Mapping[str, Any] = Factory(dict)
    """Other counters under the provider's own names, and ``complete``: whether the figures are final."""


@frozen(kw_only=True, slots=False)
class PromptUsageRecord:
    """What the user asked; ``prompt`` is None where the operator keeps no prompts."""

    id: UUID
    interception_id: UUID
    provider_response_id: str | None
    prompt: str | None
    created_at: datetime
    metadata: Mapping[str, Any] = Factory(dict)


@frozen(kw_only=True, slots=False)
class ToolUsageRecord:
    """A tool that the model called: the client's own, or an injected one that the gateway ran."""

    id: UUID
    interception_id: UUID
    provider_response_id: str | None
    tool_call_id: str | None
    tool: str
    server_url: str | None = None
    invocation_error: str | None = None
    input: Any
    """Arguments as a JSON value; a string where the tool takes free text."""
    created_at: datetime
    injected: bool = False
    output: Any = None
    duration_ms: float | None = None
    metadata: Mapping[str, Any] = Factory(dict)


@frozen(kw_only=True, slots=False)
class ModelThoughtRecord:
    """A thought that the model let be seen. ``metadata["source"]`` says in which form it came."""

    id: UUID
    interception_id: UUID
    content: str | None
    created_at: datetime
    metadata: Mapping[str, Any] = Factory(dict)


@frozen
class OpenAnswer:
    """An answer whose recorded figures are not final: its interception, and the row that holds them so far."""

    interception_id: UUID
    usage_id: UUID


@frozen(kw_only=True, slots=False)
class ToolsetRecord:
    """The tools that conversations were offered, as JSON text: its order is part of what models are bound to."""

    id: UUID
    digest: str
    content: str
    created_at: datetime


@frozen(kw_only=True, slots=False)
class TurnRecord:
    """What was hidden from the client of one answer, as JSON text, with the tools of its conversation."""

    id: UUID
    initiator_id: str
    provider_name: str
    content: str
    toolset_id: UUID
    created_at: datetime


@frozen(kw_only=True, slots=False)
class AnchorRecord:
    """Something that a client sends back of an answer; the id is a digest of it, of its actor and its provider."""

    id: UUID
    turn_id: UUID
    created_at: datetime


Record = (
    InterceptionRecord
    | InterceptionRecordEnded
    | TokenUsageRecord
    | PromptUsageRecord
    | ToolUsageRecord
    | ModelThoughtRecord
    | ToolsetRecord
    | TurnRecord
    | AnchorRecord
)
