"""The table of what a provider refuses of clients' requests."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from .. import settings


def _belonging() -> Any:
    """The fields that belong to beta flags, by patterns of flags."""

    def check(value: dict[Any, Any]) -> str | None:
        for pattern, fields in value.items():
            if type(pattern) is not str or type(fields) is not list or not all(type(field) is str for field in fields):
                return 'must have lists of fields by beta flags, such as "effort-*" = ["output_config.effort"]'
        return None

    return settings.setting(dict, check, factory=lambda: {**BELONGING})


BELONGING: Mapping[str, list[str]] = {
    "advanced-tool-use-*": ["tools.*.defer_loading", "tools.*.input_examples", "tools.*.allowed_callers"],
    "tool-search-tool-*": ["tools.*.defer_loading"],
    "tool-examples-*": ["tools.*.input_examples"],
    "context-management-*": ["context_management"],
    "effort-*": ["output_config.effort"],
    "structured-outputs-*": ["output_config.format", "output_format", "tools.*.strict"],
    "mcp-client-*": ["mcp_servers"],
    "fast-mode-*": ["speed"],
    "prompt-caching-scope-*": [
        "system.*.cache_control.scope",
        "tools.*.cache_control.scope",
        "messages.*.content.*.cache_control.scope",
    ],
}
"""The fields of Claude Code's usual flags."""


@frozen(kw_only=True)
class RefusedSettings:
    """The beta flags and fields that are left out of every request, and whether further ones are learnt."""

    betas: tuple[str, ...] = settings.words()
    """Patterns of flags of ``anthropic-beta``, such as ``prompt-caching-scope-*``."""
    fields: tuple[str, ...] = settings.words()
    """Paths of fields, such as ``tools.*.defer_loading``."""
    learn: bool | None = settings.setting(bool, default=None)
    """True if a part that the provider refuses by name is left out from then on; None as is usual for its type."""
    belonging: Mapping[str, list[str]] = _belonging()
    """The fields that belong to beta flags: the one is left out with the other."""
