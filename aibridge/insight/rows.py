"""The rows of answers. Times are in UTC, durations in seconds or in milliseconds as their names say."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from attrs import frozen


@frozen(kw_only=True)
class Figures:
    """Sums over interceptions."""

    requests: int = 0
    errors: int = 0
    """Requests that failed, or that a crash interrupted."""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    cost_nanousd: int = 0
    """The known costs, in 10⁻⁹ USD."""
    unpriced_tokens: int = 0
    """Tokens whose cost is not known; those of a client's own subscription are not among them."""
    first_byte_p50: float | None = None
    first_byte_p95: float | None = None
    """Seconds to the head of an answer, of half of the requests and of 95 in 100; None where none was answered."""


@frozen(kw_only=True)
class UsageRow:
    """Sums of one group; only what the question groups by is set."""

    hour: datetime | None = None
    day: datetime | None = None
    month: datetime | None = None
    actor: str | None = None
    team: str | None = None
    provider: str | None = None
    model: str | None = None
    client: str | None = None
    figures: Figures


@frozen(kw_only=True)
class UnpricedModel:
    """A model of which no price is known."""

    provider: str
    model: str
    tokens: int


@frozen(kw_only=True)
class Overview:
    """The figures of today, of 7 days and of 30 days, each up to now; and what the 30 days consist of, by the day."""

    today: Figures
    last_7_days: Figures
    last_30_days: Figures
    by_day: tuple[UsageRow, ...]
    by_model: tuple[UsageRow, ...]
    by_client: tuple[UsageRow, ...]
    by_provider: tuple[UsageRow, ...]
    """Rows with a day and the value that the name says."""
    unpriced_models: tuple[UnpricedModel, ...]


@frozen(kw_only=True)
class SessionRow:
    """A session of a client."""

    id: UUID
    client_session_id: str
    actor: str
    client: str
    team: str
    provider: str
    model: str
    """Team, provider and model are those of most interceptions."""
    first_at: datetime
    last_at: datetime
    interceptions: int
    errors: int
    prompts: int
    tool_calls: int
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_write_input_tokens: int
    cost_nanousd: int
    unpriced_tokens: int
    first_prompt: str | None
    """The beginning of the first prompt; None where it is not kept, or may not be seen."""


@frozen(kw_only=True)
class InterceptionRow:
    """An interception with the sums of its tokens and the numbers of its rows."""

    id: UUID
    initiator_id: str
    team: str
    provider: str
    """The provider's type."""
    provider_name: str
    model: str
    client: str
    client_session_id: str | None
    user_agent: str | None
    correlating_tool_call_id: str | None
    credential_kind: str
    credential_hint: str | None
    streaming: bool
    started_at: datetime
    ended_at: datetime | None
    duration_ms: float | None
    first_byte_ms: float | None
    status: str
    http_status: int | None
    error: str | None
    upstream_requests: int
    metadata: Mapping[str, object]
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_write_input_tokens: int
    cost_nanousd: int | None
    """None if the cost of none of its answers is known."""
    prompts: int
    tool_calls: int
    thoughts: int


@frozen(kw_only=True)
class TokenUsage:
    """The tokens of one provider's answer, or of a step that is billed beside it."""

    id: UUID
    interception_id: UUID
    provider_response_id: str | None
    served_model: str | None
    service_tier: str | None
    speed: str | None
    inference_geo: str | None
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_write_input_tokens: int
    cost_nanousd: int | None
    price_version: str | None
    metadata: Mapping[str, object]
    created_at: datetime


@frozen(kw_only=True)
class Prompt:
    """A user's prompt; `prompt` is None where it is not kept, or may not be seen."""

    id: UUID
    interception_id: UUID
    provider_response_id: str | None
    prompt: str | None
    metadata: Mapping[str, object]
    created_at: datetime


@frozen(kw_only=True)
class PromptRow:
    """A prompt in a list, with the interception that it belongs to."""

    id: UUID
    interception_id: UUID
    initiator_id: str
    provider_name: str
    model: str
    client: str
    client_session_id: str | None
    prompt: str | None
    created_at: datetime


@frozen(kw_only=True)
class ToolCall:
    """A call of a tool. Input, output and error are None where they are not kept, or may not be seen."""

    id: UUID
    interception_id: UUID
    provider_response_id: str | None
    tool_call_id: str | None
    server_url: str | None
    tool: str
    input: object
    injected: bool
    """True if the gateway offered and ran the tool, hidden from the client."""
    failed: bool
    invocation_error: str | None
    output: object
    duration_ms: float | None
    metadata: Mapping[str, object]
    created_at: datetime


@frozen(kw_only=True)
class Thought:
    """A thought that the model showed; `content` is None where it is not kept, or may not be seen."""

    id: UUID
    interception_id: UUID
    content: str | None
    metadata: Mapping[str, object]
    created_at: datetime


@frozen(kw_only=True)
class InterceptionDetail:
    """Everything that is recorded of an interception, each kind of row in the order of time."""

    interception: InterceptionRow
    token_usages: tuple[TokenUsage, ...]
    user_prompts: tuple[Prompt, ...]
    tool_usages: tuple[ToolCall, ...]
    model_thoughts: tuple[Thought, ...]
    parent_id: UUID | None = None
    """The interception that made the call whose result this one brings."""
    children: tuple[UUID, ...] = ()
    """The interceptions that bring results of this one's calls."""
    lane: int = 0
    """In a session: the column of its time line. Conversations that go on at the same time stand beside each other."""


@frozen(kw_only=True)
class SessionDetail:
    """A session with its interceptions in the order of time: the first ones, or those behind the cursor."""

    session: SessionRow
    interceptions: tuple[InterceptionDetail, ...]
    lanes: int
    """The number of lanes."""
    next_cursor: str | None


@frozen(kw_only=True)
class ToolRow:
    """The calls of one tool."""

    tool: str
    server_url: str
    """Empty for clients' own tools."""
    injected: bool
    calls: int
    errors: int
    duration_p50: float | None
    duration_p95: float | None
    """Seconds; None for clients' own tools, whose duration the gateway does not see."""


@frozen(kw_only=True)
class PersonRow:
    """An actor's place among all: what they used in the span, and how that compares with their own usual day."""

    actor: str
    team: str
    figures: Figures
    today_nanousd: int
    usual_day_nanousd: int
    """The cost that 95 in 100 of the actor's days in the last 30 stay within, today excluded; 0 without any."""
    over_usual: float | None
    """Today's cost as a multiple of that; None without a usual day."""


@frozen(kw_only=True)
class BudgetRow:
    """A cap on money, and how much of it is spent in its present period."""

    id: str
    scope: str
    """``organization``, ``group`` or ``actor``."""
    name: str
    """The group's or the actor's; empty for the organization."""
    period: str
    """``daily``, ``weekly`` or ``monthly``."""
    limit_nanousd: int | None
    """None for no limit: the spending is only counted."""
    spent_nanousd: int
    reserved_nanousd: int
    """The reservations of requests in flight."""
    used_ratio: float | None
    """The spent part of the limit; None without a limit."""
    starts_at: datetime
    resets_at: datetime


@frozen(kw_only=True)
class KeyRow:
    """A key of the gateway's own; the key itself is not stored anywhere."""

    id: UUID
    hint: str
    actor: str
    metadata: Mapping[str, object]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    state: str
    """``valid``, ``expired`` or ``revoked``."""
    console_role: str | None
    """The role that the key gives in the console; None for a key of the gateway itself."""


@frozen(kw_only=True)
class SearchHit:
    """A prompt, or a call of a tool, that has the words of a search."""

    kind: str
    """``prompt`` or ``tool_call``."""
    id: UUID
    interception_id: UUID
    initiator_id: str
    provider_name: str
    model: str
    client: str
    client_session_id: str | None
    tool: str | None
    excerpt: str
    """The text around the first word that was found."""
    created_at: datetime
