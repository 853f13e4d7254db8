"""Token counts of an answer, from the ``usage`` object of each API."""

from collections.abc import Mapping, Sequence
from typing import TypeGuard

from attrs import Factory, define

from .jsontext import JsonObject

_MAX_COUNT = 2**63 - 1  # the largest integer that the databases store
_ANTHROPIC_COUNTERS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_OPENAI_COUNTERS = (
    "prompt_tokens",
    "input_tokens",
    "completion_tokens",
    "output_tokens",
    "prompt_tokens_details.cached_tokens",
    "input_tokens_details.cached_tokens",
)


@define
class TokenCounts:
    """Tokens of one answer."""

    input: int = 0
    """Input tokens, without those that were read from the provider's cache or (Anthropic) written to it."""
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    others: Mapping[str, int] = Factory(dict)
    """All other counters, under the provider's own names."""


def anthropic_token_counts(usage: JsonObject) -> TokenCounts:
    """Return the counts of a Messages ``usage`` object. Its ``input_tokens`` already excludes the cached tokens.

    https://docs.claude.com/en/api/messages#response-usage
    """
    others = _other_counters(usage, _ANTHROPIC_COUNTERS)
    input_, output, cache_read, cache_write = [_count(usage.get(name)) for name in _ANTHROPIC_COUNTERS]
    return TokenCounts(input_, output, cache_read, cache_write, others)


def openai_token_counts(usage: JsonObject) -> TokenCounts:
    """Return the counts of a Chat Completions or Responses ``usage`` object.

    Its input tokens include the cached ones, which are subtracted here.
    https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage
    https://platform.openai.com/docs/api-reference/responses/object#responses/object-usage
    """
    details = usage.get("prompt_tokens_details", usage.get("input_tokens_details"))
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else 0
    total_input = _count(usage.get("prompt_tokens", usage.get("input_tokens")))
    return TokenCounts(
        input=max(0, total_input - cached),
        output=_count(usage.get("completion_tokens", usage.get("output_tokens"))),
        cache_read=cached,
        others=_other_counters(usage, _OPENAI_COUNTERS),
    )


def _count(value: object) -> int:
    return value if _is_count(value) else 0


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _MAX_COUNT  # isinstance would take a bool for an int


def _other_counters(usage: JsonObject, known: tuple[str, ...]) -> dict[str, int]:
    """Return all counters whose paths are not `known`, at any depth.

    A counter is called by its own name. If several have the same name (audio tokens of input and of output), they are
    called by their paths.
    """
    by_name: dict[str, dict[str, int]] = {}
    groups: list[tuple[str, JsonObject]] = [("", usage)]
    for prefix, group in groups:  # grows in the loop, by each nested group
        for name, value in group.items():
            path = prefix + name
            if isinstance(value, dict):
                groups.append((f"{path}.", value))
            elif path not in known and _is_count(value):
                by_name.setdefault(name, {})[path] = value
    others: dict[str, int] = {}
    for name, paths in by_name.items():
        others |= paths if len(paths) > 1 else {name: next(iter(paths.values()))}
    return others


def sum_usage(usages: Sequence[JsonObject]) -> dict[str, object]:
    """Return one ``usage`` object for several rounds: counters are added, other members are those of the last round."""
    total: dict[str, object] = {}
    for usage in usages:
        for name, value in usage.items():
            before = total.get(name)
            if isinstance(value, dict):
                total[name] = sum_usage([before, value]) if isinstance(before, dict) else value
            elif isinstance(value, int) and isinstance(before, int) and not isinstance(value, bool):
                total[name] = before + value
            elif value is not None or before is None:
                total[name] = value
    return total
