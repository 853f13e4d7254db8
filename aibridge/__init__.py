"""aibridge: an HTTP gateway between AI clients and AI providers that records what passes, byte-exact and durably."""

from .bridge import RequestBridge
from .identity.actor import Actor
from .identity.header import HeaderAuthenticator
from .identity.jwt import JWTAuthenticator
from .identity.keys import KeyAuthenticator
from .interfaces import IAuthenticator, IRecorder
from .metrics import Metrics
from .providers.anthropic import AnthropicProvider
from .providers.openai import OpenAIProvider

__all__ = [
    "Actor",
    "AnthropicProvider",
    "HeaderAuthenticator",
    "IAuthenticator",
    "IRecorder",
    "JWTAuthenticator",
    "KeyAuthenticator",
    "Metrics",
    "OpenAIProvider",
    "RequestBridge",
]
