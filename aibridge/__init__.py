"""aibridge: an HTTP gateway between AI clients and AI providers that records what passes, byte-exact and durably."""

from .bridge import RequestBridge
from .identity.actor import Actor
from .interfaces import IAuthenticator, IRecorder
from .metrics import Metrics
from .providers.anthropic import AnthropicProvider
from .providers.openai import OpenAIProvider

__all__ = [
    "Actor",
    "AnthropicProvider",
    "IAuthenticator",
    "IRecorder",
    "Metrics",
    "OpenAIProvider",
    "RequestBridge",
]
