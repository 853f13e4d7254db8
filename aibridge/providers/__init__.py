"""The types of provider, each with its settings, routes, credential and headers."""

from collections.abc import Mapping

from .anthropic import AnthropicProvider
from .azure import AzureProvider
from .base import Provider
from .bedrock import BedrockProvider
from .copilot import CopilotProvider
from .foundry import FoundryProvider
from .openai import OpenAIProvider
from .vertex import VertexProvider

USUAL_TYPES: Mapping[str, type[Provider]] = {kind.type: kind for kind in (AnthropicProvider, OpenAIProvider)}
"""The types of which there is a provider without any configuration."""
PROVIDER_TYPES: Mapping[str, type[Provider]] = {
    **USUAL_TYPES,
    **{kind.type: kind for kind in (AzureProvider, BedrockProvider, CopilotProvider, FoundryProvider, VertexProvider)},
}
