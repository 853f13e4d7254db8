"""The names that tables of prices give to the providers behind hosts."""

from ipaddress import ip_address
from urllib.parse import urlsplit

_HOSTS = {
    "api.anthropic.com": ("anthropic",),
    "api.openai.com": ("openai",),
    "api.cerebras.ai": ("cerebras",),
    "api.cohere.ai": ("cohere", "cohere_chat"),
    "api.cohere.com": ("cohere", "cohere_chat"),
    "api.deepseek.com": ("deepseek",),
    "api.fireworks.ai": ("fireworks", "fireworks_ai", "fireworks-ai"),
    "api.groq.com": ("groq",),
    "api.mistral.ai": ("mistral",),
    "api.moonshot.ai": ("moonshotai", "moonshot"),
    "api.moonshot.cn": ("moonshotai-cn", "moonshotai", "moonshot"),
    "api.perplexity.ai": ("perplexity",),
    "api.together.xyz": ("together", "together_ai", "togetherai"),
    "api.x.ai": ("x-ai", "xai"),
    "api.z.ai": ("zai",),
    "generativelanguage.googleapis.com": ("google", "gemini"),
    "openrouter.ai": ("openrouter",),
}
_AWS = ("aws", "amazon-bedrock", "bedrock_converse", "bedrock", "bedrock_mantle")
_FOUNDRY = ("azure", "azure_ai", "azure-cognitive-services")
_TYPES = {
    "azure": ("azure",),
    "bedrock": _AWS,
    "foundry": _FOUNDRY,
    "vertex": ("google", "google-vertex-anthropic", "vertex_ai-anthropic_models", "google-vertex", "vertex_ai"),
}
"""By the type of a provider, whatever its host is: clouds are reached by private ones, too."""
_VENDORS = {"anthropic": ("anthropic",), "openai": ("openai",)}
"""By the type of a provider at a private host: a relay of the operator's own, which charges nothing itself."""
_PRIVATE = (".internal", ".lan", ".local", ".localhost", ".test")
_SUFFIXES = {
    ".amazonaws.com": _AWS,
    ".cognitiveservices.azure.com": ("azure",),
    ".openai.azure.com": ("azure",),
    ".services.ai.azure.com": _FOUNDRY,
}
"""Ends of host names that differ by account or region."""


def table_names(base_url: str, kind: str = "") -> tuple[str, ...]:
    """Return the names of the provider with that URL and of that type; none if its prices can't be known from them.

    A public host that resells models, or adds a surcharge for its region (``eu.api.openai.com``), has prices of its
    own. A private one has those of the vendor whose API it speaks.
    """
    if kind in _TYPES:
        return _TYPES[kind]
    host = urlsplit(base_url).hostname or ""
    if host in _HOSTS:
        return _HOSTS[host]
    if _is_private(host):
        return _VENDORS.get(kind, ())
    return next((names for end, names in _SUFFIXES.items() if host.endswith(end)), ())


def _is_private(host: str) -> bool:
    """Return True for an address or a name that only the operator's own networks know."""
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(_PRIVATE)
