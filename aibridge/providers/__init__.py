"""The types of provider, each with its settings, routes, credential and headers."""

from collections.abc import Mapping

from .anthropic import AnthropicProvider
from .base import Provider
from .openai import OpenAIProvider

PROVIDER_TYPES: Mapping[str, type[Provider]] = {kind.type: kind for kind in (AnthropicProvider, OpenAIProvider)}
