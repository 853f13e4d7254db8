"""aibridge: an HTTP gateway between AI clients and AI providers that records what passes, byte-exact and durably."""

__version__ = "0.1.0"  # setup.py reads this line

from .bridge import RequestBridge
from .costs.load import load_prices
from .costs.settings import OwnPrices, PriceSettings
from .errors import (
    AIBridgeError,
    ConfigError,
    GatewayError,
    RecordingError,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from .identity.header import HeaderAuthenticator
from .identity.jwt import JWTAuthenticator
from .identity.keys import KeyAuthenticator
from .interfaces import Actor, IAuthenticator, IRecorder
from .metrics import Metrics
from .providers.anthropic import AnthropicProvider
from .providers.openai import OpenAIProvider
from .rate_limits import Limits
from .record.records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    PromptUsageRecord,
    TokenUsageRecord,
    ToolUsageRecord,
)
from .service.gateway import GatewayService
from .tools.settings import MCPServerSettings
from .tools.toolbox import Toolbox, make_toolbox
from .upstream.circuit_breaker import BreakerSettings

__all__ = [
    "AIBridgeError",
    "Actor",
    "AnthropicProvider",
    "BreakerSettings",
    "ConfigError",
    "GatewayError",
    "GatewayService",
    "HeaderAuthenticator",
    "IAuthenticator",
    "IRecorder",
    "InterceptionRecord",
    "InterceptionRecordEnded",
    "JWTAuthenticator",
    "KeyAuthenticator",
    "Limits",
    "MCPServerSettings",
    "Metrics",
    "ModelThoughtRecord",
    "OpenAIProvider",
    "OwnPrices",
    "PriceSettings",
    "PromptUsageRecord",
    "RecordingError",
    "RequestBridge",
    "TokenUsageRecord",
    "TooManyRequests",
    "ToolUsageRecord",
    "Toolbox",
    "Unauthorized",
    "Unavailable",
    "__version__",
    "load_prices",
    "make_toolbox",
]
