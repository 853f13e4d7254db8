"""Token figures, from what each API says of them, in one form.

Nothing is estimated: a counter that the provider did not send is zero, and what can't be a count (a fraction, a
negative number, one that no database holds) is not taken.
"""

from collections.abc import Mapping
from typing import Any, TypeGuard

from attrs import Factory, define

_LARGEST = 2**63 - 1
_ANTHROPIC = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


@define
class TokenFigures:
    """Tokens of one answer. ``input`` is without those read from the cache; Anthropic's without those written, too."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    others: Mapping[str, int] = Factory(dict)
    """Every other counter, under the provider's own name."""


def anthropic_figures(usage: Mapping[str, Any]) -> TokenFigures:
    """Figures of a `usage` object, whose ``input_tokens`` excludes the cached ones already.

    https://docs.claude.com/en/api/messages#response-usage
    """
    input, output, cache_read, cache_write = [_count(usage.get(name)) for name in _ANTHROPIC]  # noqa: A001
    return TokenFigures(input, output, cache_read, cache_write, _other_counters(usage, _ANTHROPIC))


def openai_figures(usage: Mapping[str, Any]) -> TokenFigures:
    """Figures of a `usage` object of either API; its input includes the cached tokens, which are taken out.

    https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage
    https://platform.openai.com/docs/api-reference/responses/object#responses/object-usage
    """
    cached = _count(_details(usage, "prompt_tokens_details", "input_tokens_details").get("cached_tokens"))
    total_input = _count(usage.get("prompt_tokens", usage.get("input_tokens")))
    main = ("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens")
    cached_paths = ("prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens")
    return TokenFigures(
        input=max(0, total_input - cached),
        output=_count(usage.get("completion_tokens", usage.get("output_tokens"))),
        cache_read=cached,
        others=_other_counters(usage, main + cached_paths),
    )


def _details(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    found = next((usage[name] for name in names if name in usage), None)
    return found if isinstance(found, dict) else {}


def _count(value: object) -> int:
    return value if _is_count(value) else 0


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _LARGEST  # a bool is an int, but not of that type


def _other_counters(usage: Mapping[str, Any], known: tuple[str, ...]) -> dict[str, int]:
    """All further counters by name; where two share a name (audio of input and of output), by their whole path."""
    by_name: dict[str, dict[str, int]] = {}
    groups = [("", usage)]
    for prefix, group in groups:  # which grows meanwhile: counters stand at any depth
        for name, value in group.items():
            if isinstance(value, dict):
                groups.append((f"{prefix}{name}.", value))
            elif (path := prefix + name) not in known and _is_count(value):
                by_name.setdefault(name, {})[path] = value
    others: dict[str, int] = {}
    for name, paths in by_name.items():
        others |= paths if len(paths) > 1 else {name: next(iter(paths.values()))}
    return others
