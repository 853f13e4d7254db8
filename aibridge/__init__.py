"""aibridge: an HTTP gateway between AI clients and AI providers that records what passes, byte-exact and durably."""

from .bridge import RequestBridge
from .identity.authenticate import Actor
from .identity.header import HeaderAuthenticator
from .identity.jwt import JWTAuthenticator
from .identity.keys import KeyAuthenticator
from .interfaces import IAuthenticator, IRecorder
from .metrics import Metrics
from .providers.anthropic import AnthropicProvider
from .providers.openai import OpenAIProvider
from .rate_limits import Limits
from .upstream.circuit_breaker import BreakerSettings

__all__ = [
    "Actor",
    "AnthropicProvider",
    "BreakerSettings",
    "HeaderAuthenticator",
    "IAuthenticator",
    "IRecorder",
    "JWTAuthenticator",
    "KeyAuthenticator",
    "Limits",
    "Metrics",
    "OpenAIProvider",
    "RequestBridge",
]
