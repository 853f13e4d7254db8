"""Token counts of an answer, from the ``usage`` object of each API."""

from collections.abc import Mapping, Sequence
from itertools import repeat

from attrs import Factory, define, evolve, frozen

from .jsontext import JsonObject

_MAX_COUNT = 10**16  # no answer has more of anything; the databases have no room for sums of much larger numbers
_WORDS = ("service_tier", "speed", "inference_geo")
_BILLED_BESIDE = ("advisor_message", "compaction", "fallback_message")
"""Types of ``iterations`` that the figures of the whole answer leave out; those of type ``message`` are in them."""
_CACHE_READS = (
    "prompt_tokens_details.cached_tokens",
    "input_tokens_details.cached_tokens",
    "prompt_cache_hit_tokens",
    "cached_tokens",
)
"""OpenAI's two names, then DeepSeek's and Moonshot's. Some providers send two of them.

https://api-docs.deepseek.com/guides/kv_cache https://platform.moonshot.ai/docs/api/chat
"""
_CACHE_WRITES = ("prompt_tokens_details.cache_write_tokens", "input_tokens_details.cache_write_tokens")
_COSTS = ("cost", "cost_details")
"""Members with amounts of money. OpenRouter: https://openrouter.ai/docs/use-cases/usage-accounting"""


@define
class TokenCounts:
    """Tokens of one answer."""

    input: int = 0
    """Input tokens, without those that were read from the provider's cache or written to it."""
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    others: Mapping[str, int] = Factory(dict)
    """All other counters, under the provider's own names."""
    details: Mapping[str, object] = Factory(dict)
    """Further facts about these tokens, as JSON values."""
    words: Mapping[str, str] = Factory(dict)
    """The provider's ``service_tier``, ``speed`` and ``inference_geo``, as far as it names them."""
    beside: "Sequence[Iteration]" = ()
    """Tokens that the provider bills beside those of the answer."""


@frozen
class Iteration:
    """A step of an answer that the answer's own figures do not contain."""

    kind: str
    """The provider's type of the step: ``compaction``, ``advisor_message`` or ``fallback_message``."""
    model: str | None
    """The model of the step; None for that of the request."""
    tokens: TokenCounts


def anthropic_token_counts(usage: JsonObject) -> TokenCounts:
    """Return the counts of a Messages ``usage`` object. Its ``input_tokens`` already excludes the cached tokens.

    https://docs.claude.com/en/api/messages#response-usage
    """
    counters = _counters(usage)
    counts = TokenCounts(
        input=counters.pop("input_tokens", 0),
        output=counters.pop("output_tokens", 0),
        cache_read=counters.pop("cache_read_input_tokens", 0),
        cache_write=counters.pop("cache_creation_input_tokens", 0),
        others=_by_name(counters) if counters else counters,
    )
    if not usage.keys().isdisjoint(_WORDS):
        counts.words = {name: word for name in _WORDS if isinstance(word := usage.get(name), str) and word}
    if "cost" in usage:
        counts.details = _provider_cost(usage)
    iterations = usage.get("iterations")
    if isinstance(iterations, list) and iterations:
        counts.details = {**counts.details, "iterations": iterations}
        counts.beside = [_iteration(step, counts.words) for step in iterations if _is_billed_beside(step)]
    return counts


def _is_billed_beside(step: object) -> bool:
    return isinstance(step, dict) and str(step.get("type")) in _BILLED_BESIDE


def _iteration(step: JsonObject, words: Mapping[str, str]) -> Iteration:
    """Return the step. The answer's `words` hold for a step that names none of its own."""
    model = step.get("model") or None
    tokens = anthropic_token_counts({name: value for name, value in step.items() if name != "iterations"})
    tokens.words = {**words, **tokens.words}
    return Iteration(str(step["type"]), model if isinstance(model, str) else None, tokens)


def openai_token_counts(usage: JsonObject) -> TokenCounts:
    """Return the counts of a Chat Completions or Responses ``usage`` object.

    Its input tokens include those that were read from the cache or written to it, which are subtracted here.
    https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage
    https://platform.openai.com/docs/api-reference/responses/object#responses/object-usage
    """
    counters = _counters(usage)
    read, written = _take(counters, _CACHE_READS), _take(counters, _CACHE_WRITES)
    return TokenCounts(
        input=max(0, _take(counters, ("prompt_tokens", "input_tokens")) - read - written),
        output=_take(counters, ("completion_tokens", "output_tokens")),
        cache_read=read,
        cache_write=written,
        others=_by_name(counters) if counters else counters,
        details=_provider_cost(usage) if "cost" in usage else {},
    )


def _take(counters: dict[str, int], paths: tuple[str, ...]) -> int:
    """Remove the counters with these paths, which mean the same. Return the first that is not 0."""
    return next(filter(None, [*map(counters.pop, paths, repeat(0))]), 0)


def xai_token_counts(usage: JsonObject) -> TokenCounts:
    """Return the counts of xAI's Chat Completions, whose ``completion_tokens`` exclude those of reasoning.

    https://docs.x.ai/docs/guides/reasoning
    """
    counts = openai_token_counts(usage)
    details = usage.get("completion_tokens_details")
    reasoning = _counters(details).get("reasoning_tokens", 0) if isinstance(details, dict) else 0
    return evolve(counts, output=min(_MAX_COUNT, counts.output + reasoning))


def _counters(usage: JsonObject) -> dict[str, int]:
    """Return all counters by their paths, at any depth, such as ``server_tool_use.web_search_requests``.

    Some providers write whole numbers as ``100.0``.
    """
    counters: dict[str, int] = {}
    groups: list[tuple[str, JsonObject]] = [("", usage)]
    for prefix, group in groups:  # grows in the loop, by each nested group
        for name, value in group.items():
            if type(value) is int or (type(value) is float and value.is_integer()):  # a bool is no count
                if 0 <= value <= _MAX_COUNT and (prefix or name not in _COSTS):
                    counters[prefix + name] = int(value)
            elif isinstance(value, dict) and (prefix or name not in _COSTS):
                groups.append((f"{prefix}{name}.", value))
    return counters


def _by_name(counters: dict[str, int]) -> dict[str, int]:
    """Return the counters by their own names.

    If several have the same name (audio tokens of input and of output), they are called by their paths.
    """
    paths: dict[str, list[str]] = {}
    for path in counters:
        paths.setdefault(path.rpartition(".")[2], []).append(path)
    return {name if len(same) == 1 else path: counters[path] for name, same in paths.items() for path in same}


def _provider_cost(usage: JsonObject) -> dict[str, object]:
    """Return the cost as the provider states it, if it does so by a number."""
    cost = usage.get("cost")
    return {"provider_cost": cost} if type(cost) in (int, float) else {}


def merge_usage(usage: dict[str, object], later: JsonObject) -> None:
    """Bring a stream's ``usage`` object up to date.

    Counters are cumulative: a later one replaces the earlier one. Null says nothing, and neither does 0 after a figure:
    some providers send zeros for what they have said before.
    """
    for name, value in later.items():
        before = usage.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            news = {key: part for key, part in value.items() if part is not None and (part != 0 or not before.get(key))}
            usage[name] = {**before, **news}
        elif value is not None and (value != 0 or not before):
            usage[name] = value


def sum_usage(usages: Sequence[JsonObject]) -> dict[str, object]:
    """Return one ``usage`` object for several rounds.

    Numbers are added and lists are joined; other members are those of the last round.
    """
    total: dict[str, object] = {}
    for usage in usages:
        for name, value in usage.items():
            before = total.get(name)
            if isinstance(value, dict):
                total[name] = sum_usage([before, value]) if isinstance(before, dict) else value
            elif isinstance(value, list) and isinstance(before, list):
                total[name] = [*before, *value]
            elif type(value) in (int, float) and type(before) in (int, float):
                total[name] = before + value  # type: ignore[operator] # numbers, as their types say
            elif value is not None or before is None:
                total[name] = value
    return total
