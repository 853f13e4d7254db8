"""Records: plain values that say what happened in an exchange, one class for each kind of row.

Every record carries an id that the gateway made. Recording the same id again replaces the row (a stream's token
figures grow until its end) or changes nothing, so a retry and a replay are always harmless.

Times are aware datetimes in UTC. ``metadata`` holds JSON values only.

The classes have no slots, so that `vars` gives all values in their order, and the fields of a class that are text stand
together: `aibridge.record.statements` checks them all in one step.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, get_args
from uuid import UUID

from attrs import Factory, field, frozen

IN_PROGRESS = "in_progress"
COMPLETED = "completed"
FAILED = "failed"
CANCELLED = "cancelled"
INTERRUPTED = "interrupted"
REFUSED = "refused"
"""A cap on money had no room for the request: nothing was sent."""

BYOK = "byok"
CENTRALIZED = "centralized"

INVOKED_MODEL = "invoked_model"
"""The name in a token row's metadata by which a cloud was asked for the model."""


@frozen(kw_only=True)
class Storage:
    """The facts about a class of records that recorders, the spool and the content policy need."""

    table: str
    """The database table of its rows; its columns have the names of the record's fields."""
    spool_kind: str
    """The name of the class in a spool file. Files outlive versions, so it never changes."""
    method: str = ""
    """The method of `IRecorder` that takes these records; empty for records that only the SQL recorder keeps."""
    updates: bool = False
    """True for a record that completes the row of an earlier one; otherwise each record is a row of its own."""
    contents: Mapping[str, str | None] = Factory(dict)
    """The fields of any length, each with the setting of `ContentPolicy` that keeps it; None for always."""


@frozen(kw_only=True, slots=False)
class InterceptionRecord:
    """A request that was accepted and is about to go to its provider."""

    storage: ClassVar[Storage] = Storage(
        table="aibridge_interceptions", spool_kind="interception", method="record_interception"
    )

    id: UUID
    initiator_id: str
    provider: str
    """The provider's type, such as ``anthropic``."""
    provider_name: str
    """The name under which the provider is configured; the first segment of its routes."""
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
    upstream_requests: int = 0
    """The requests that the provider was sent so far. The record comes again when that is known, and with the end."""
    metadata: Mapping[str, object] = Factory(dict)


@frozen(kw_only=True, slots=False)
class TokenUsageRecord:
    """The tokens of one provider's answer. ``input_tokens`` never includes those read from the cache."""

    storage: ClassVar[Storage] = Storage(
        table="aibridge_token_usages", spool_kind="token_usage", method="record_token_usage"
    )

    id: UUID
    interception_id: UUID
    provider_response_id: str | None
    served_model: str | None = None
    """The model that answered, by the answer's own words; None if it names none."""
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    """The answer's own words, as the two before."""
    price_version: str | None = None
    """The table of prices by which the cost was found; None without a cost."""
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_write_input_tokens: int
    cost_nanousd: int | None = None
    """The cost in 10⁻⁹ USD; None where it is not known, or where prices are off."""
    created_at: datetime
    metadata: Mapping[str, object] = Factory(dict)
    """Other counters under the provider's own names, and ``complete``: True if the figures are final."""


@frozen(kw_only=True, slots=False)
class PromptUsageRecord:
    """The user's prompt; ``prompt`` is None where the operator keeps no prompts."""

    storage: ClassVar[Storage] = Storage(
        table="aibridge_user_prompts",
        spool_kind="prompt",
        method="record_prompt_usage",
        contents={"prompt": "prompts"},
    )

    id: UUID
    interception_id: UUID
    provider_response_id: str | None
    prompt: str | None
    created_at: datetime
    metadata: Mapping[str, object] = Factory(dict)


@frozen(kw_only=True, slots=False)
class ToolUsageRecord:
    """A tool that the model called: the client's own, or an injected one that the gateway ran."""

    storage: ClassVar[Storage] = Storage(
        table="aibridge_tool_usages",
        spool_kind="tool_usage",
        method="record_tool_usage",
        contents={"invocation_error": None, "input": "tool_arguments", "output": "tool_results"},
    )

    id: UUID
    interception_id: UUID
    provider_response_id: str | None
    tool_call_id: str | None
    tool: str
    server_url: str | None = None
    invocation_error: str | None = None
    input: object
    """Arguments as a JSON value; a string where the tool takes free text."""
    created_at: datetime
    injected: bool = False
    output: object = None
    duration_ms: float | None = None
    metadata: Mapping[str, object] = Factory(dict)


@frozen(kw_only=True, slots=False)
class ModelThoughtRecord:
    """A thought that the model showed. ``metadata["source"]`` says in which form it came."""

    storage: ClassVar[Storage] = Storage(
        table="aibridge_model_thoughts",
        spool_kind="thought",
        method="record_model_thought",
        contents={"content": "thoughts"},
    )

    id: UUID
    interception_id: UUID
    content: str | None
    created_at: datetime
    metadata: Mapping[str, object] = Factory(dict)


@frozen(kw_only=True, slots=False)
class ToolsetRecord:
    """The tools that conversations were offered, as JSON text: its order is part of what models are bound to."""

    storage: ClassVar[Storage] = Storage(table="aibridge_toolsets", spool_kind="toolset", contents={"content": None})

    id: UUID
    digest: str
    content: str
    created_at: datetime


@frozen(kw_only=True, slots=False)
class TurnRecord:
    """The part of one answer that was hidden from the client, as JSON text, with the tools of its conversation."""

    storage: ClassVar[Storage] = Storage(table="aibridge_turns", spool_kind="turn", contents={"content": None})

    id: UUID
    initiator_id: str
    provider_name: str
    content: str
    toolset_id: UUID
    created_at: datetime


@frozen(kw_only=True, slots=False)
class AnchorRecord:
    """A part of an answer that a client sends back later; the id is a digest of it, of its actor and its provider."""

    storage: ClassVar[Storage] = Storage(table="aibridge_anchors", spool_kind="anchor")

    id: UUID
    turn_id: UUID
    created_at: datetime


@frozen(kw_only=True, slots=False)
class StoredObjectRecord:
    """An object that a provider stores, such as a file, and that was made on a passed route."""

    storage: ClassVar[Storage] = Storage(table="aibridge_stored_objects", spool_kind="stored_object")

    id: UUID
    object_id: str
    """The provider's own id of the object."""
    provider_name: str
    initiator_id: str
    credential_hint: str | None
    created_at: datetime


@frozen(kw_only=True, slots=False)
class InterceptionRecordEnded:
    """The end of the interception with that id."""

    storage: ClassVar[Storage] = Storage(
        table="aibridge_interceptions", spool_kind="ended", method="record_interception_ended", updates=True
    )

    id: UUID
    status: str
    """`COMPLETED`, `FAILED`, `CANCELLED` or `INTERRUPTED`."""
    error: str | None = None
    ended_at: datetime
    http_status: int | None = None
    """The status that the client got; None if it left before there was one."""
    upstream_requests: int = 0
    first_byte_ms: float | None = None
    """Milliseconds from the request's acceptance to the head of the first round's response."""


Record = (
    InterceptionRecord
    | TokenUsageRecord
    | PromptUsageRecord
    | ToolUsageRecord
    | ModelThoughtRecord
    | ToolsetRecord
    | TurnRecord
    | AnchorRecord
    | StoredObjectRecord
    | InterceptionRecordEnded
)
"""Any record. The classes stand in the order in which a transaction stores them: a row follows those it refers to."""

RECORD_TYPES: tuple[type[Record], ...] = get_args(Record)


@frozen
class OpenAnswer:
    """An answer whose recorded figures are not final: its interception, and the row that holds them so far."""

    interception_id: UUID
    usage_id: UUID
    started_at: datetime | None = field(default=None, eq=False)
    """The time at which the interception began, whose prices count; None if the recorder does not tell."""


@frozen
class Owner:
    """The actor who made an object that a provider stores, and the hint of the credential that was used for it."""

    initiator_id: str
    credential_hint: str | None
