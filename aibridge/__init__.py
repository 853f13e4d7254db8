"""aibridge: an HTTP gateway between AI clients and AI providers that records what passes, byte-exact and durably.

A public name is imported when it is first used, so that the command line starts quickly.
"""

__version__ = "0.1.0"  # setup.py reads this line

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .bridge import RequestBridge as RequestBridge
    from .costs.load import load_prices as load_prices
    from .costs.settings import (
        OwnPrices as OwnPrices,
        PriceSettings as PriceSettings,
    )
    from .errors import (
        AIBridgeError as AIBridgeError,
        BudgetSpent as BudgetSpent,
        ConfigError as ConfigError,
        GatewayError as GatewayError,
        RecordingError as RecordingError,
        TooManyRequests as TooManyRequests,
        Unauthorized as Unauthorized,
        Unavailable as Unavailable,
    )
    from .identity.header import HeaderAuthenticator as HeaderAuthenticator
    from .identity.jwt import JWTAuthenticator as JWTAuthenticator
    from .identity.keys import KeyAuthenticator as KeyAuthenticator
    from .interceptors import BridgeSettings as BridgeSettings
    from .interfaces import (
        Actor as Actor,
        IAuthenticator as IAuthenticator,
        IRecorder as IRecorder,
    )
    from .metrics import Metrics as Metrics
    from .providers.anthropic import AnthropicProvider as AnthropicProvider
    from .providers.azure import AzureProvider as AzureProvider
    from .providers.bedrock import BedrockProvider as BedrockProvider
    from .providers.copilot import CopilotProvider as CopilotProvider
    from .providers.foundry import FoundryProvider as FoundryProvider
    from .providers.openai import OpenAIProvider as OpenAIProvider
    from .providers.refused import RefusedSettings as RefusedSettings
    from .providers.vertex import VertexProvider as VertexProvider
    from .rate_limits import Limits as Limits
    from .record.budgets.settings import BudgetSettings as BudgetSettings
    from .record.records import (
        InterceptionRecord as InterceptionRecord,
        InterceptionRecordEnded as InterceptionRecordEnded,
        ModelThoughtRecord as ModelThoughtRecord,
        PromptUsageRecord as PromptUsageRecord,
        TokenUsageRecord as TokenUsageRecord,
        ToolUsageRecord as ToolUsageRecord,
    )
    from .service.gateway import GatewayService as GatewayService
    from .tools.settings import MCPServerSettings as MCPServerSettings
    from .tools.toolbox import (
        Toolbox as Toolbox,
        make_toolbox as make_toolbox,
    )
    from .upstream.circuit_breaker import BreakerSettings as BreakerSettings
    from .websocket.settings import WebSocketSettings as WebSocketSettings

_MODULES = {
    "RequestBridge": "bridge",
    "load_prices": "costs.load",
    "OwnPrices": "costs.settings",
    "PriceSettings": "costs.settings",
    "AIBridgeError": "errors",
    "BudgetSpent": "errors",
    "ConfigError": "errors",
    "GatewayError": "errors",
    "RecordingError": "errors",
    "TooManyRequests": "errors",
    "Unauthorized": "errors",
    "Unavailable": "errors",
    "HeaderAuthenticator": "identity.header",
    "JWTAuthenticator": "identity.jwt",
    "KeyAuthenticator": "identity.keys",
    "BridgeSettings": "interceptors",
    "Actor": "interfaces",
    "IAuthenticator": "interfaces",
    "IRecorder": "interfaces",
    "Metrics": "metrics",
    "AnthropicProvider": "providers.anthropic",
    "AzureProvider": "providers.azure",
    "BedrockProvider": "providers.bedrock",
    "CopilotProvider": "providers.copilot",
    "FoundryProvider": "providers.foundry",
    "OpenAIProvider": "providers.openai",
    "RefusedSettings": "providers.refused",
    "VertexProvider": "providers.vertex",
    "Limits": "rate_limits",
    "BudgetSettings": "record.budgets.settings",
    "InterceptionRecord": "record.records",
    "InterceptionRecordEnded": "record.records",
    "ModelThoughtRecord": "record.records",
    "PromptUsageRecord": "record.records",
    "TokenUsageRecord": "record.records",
    "ToolUsageRecord": "record.records",
    "GatewayService": "service.gateway",
    "MCPServerSettings": "tools.settings",
    "Toolbox": "tools.toolbox",
    "make_toolbox": "tools.toolbox",
    "BreakerSettings": "upstream.circuit_breaker",
    "WebSocketSettings": "websocket.settings",
}
"""The module of each public name."""

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> object:
    """Return a public name, and keep it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
