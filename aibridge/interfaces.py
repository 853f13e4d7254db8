"""The map of the code: the seams between its parts, and the ones that a host program may fill itself."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.iweb import IRequest
from zope.interface import Attribute, Interface

from .record.records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    PromptUsageRecord,
    TokenUsageRecord,
    ToolUsageRecord,
)


class IRecorder(Interface):
    """Where records are kept.

    Each method takes one record and returns a Deferred that fires once the record is durable, or fails if it can't be made
    so. The gateway waits for them: before it calls a provider, and before it hands over the last byte of an answer. A record whose
    id was recorded before replaces that one. Calls of one exchange come in order, but are not waited for one by one.
    """

    def record_interception(record: InterceptionRecord) -> "Deferred[None]":
        """A request was accepted."""

    def record_interception_ended(record: InterceptionRecordEnded) -> "Deferred[None]":
        """That request is over."""

    def record_token_usage(record: TokenUsageRecord) -> "Deferred[None]":
        """Tokens of one answer, so far or finally."""

    def record_prompt_usage(record: PromptUsageRecord) -> "Deferred[None]":
        """What the user asked."""

    def record_tool_usage(record: ToolUsageRecord) -> "Deferred[None]":
        """A tool that the model called."""

    def record_model_thought(record: ModelThoughtRecord) -> "Deferred[None]":
        """A thought of the model."""


class IAuthenticator(Interface):
    """Says who is asking."""

    def authenticate(request: IRequest) -> "Any":
        """An `aibridge.Actor`, or None for nobody; as a value or as a Deferred of one.

        It may read the request's head only. What it took as the gateway's own credential it removes from
        ``request.requestHeaders``, so that it never reaches a provider.
        """


class IProvider(Interface):
    """One configured provider: its routes, its credential, its headers. Made once, shared by all requests."""

    name = Attribute("The first segment of its routes, and its name in metrics and records.")
    type = Attribute("The kind of API: ``anthropic``, ``openai``, …")
    base_url = Attribute("Where its upstream is, without a trailing slash.")
