"""The data of the package genai-prices, read without the package.

Its module of data is code that makes a list of `Provider`, each with its `ModelInfo`, and so on. Those classes need
pydantic, and the package an HTTP client: 9 MB, and most of the time. So the code is run with plain entries in their
place, and what nobody reads is not kept.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from genai_prices.types import MatchLogic, ModelInfo, Provider

_MODULE = "genai_prices.data"
_UNREAD_KINDS = ("UsageExtractor", "UsageExtractorMapping", "ArrayMatch")
_UNREAD = frozenset(
    ("name", "description", "price_comments", "pricing_urls", "context_window", "deprecated", "extractors")
)
_COMPACT_DATE = re.compile(r"(?<=-)(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


class Entry:
    """An object of the data: its values are attributes. One that the data leaves out is None."""

    def __init__(self, **values: object) -> None:
        for name, value in values.items():
            if name not in _UNREAD:
                setattr(self, name, value)

    def __getattr__(self, name: str) -> None:
        return None


class _Names(dict[str, object]):
    """The names that the module of data finds: each name of a class leads to a class of entries."""

    def __missing__(self, name: str) -> object:
        if name in _UNREAD_KINDS:
            return _nothing
        kind = self[name] = type(name, (Entry,), {})
        return kind


def _nothing(**values: object) -> None:
    """Keep nothing of an object."""


def read_providers() -> "Iterator[Provider]":
    """Yield the providers of the package's table, with the values of its classes but without their methods.

    ImportError if the package is not installed.
    """
    # The package itself is not imported.
    package = find_spec(_MODULE.partition(".")[0])
    if package is None or package.origin is None:
        raise ImportError("genai-prices is not installed")
    code = SourceFileLoader(_MODULE, str(Path(package.origin).with_name("data.py"))).get_code(_MODULE)
    assert code is not None, "it is a file of Python's"
    names = _Names(list=list, __annotations__={})
    exec(code, {"__builtins__": {"__import__": _import}}, names)  # noqa: S102 - code of the package
    yield from cast("list[Provider]", names["providers"])


def _import(name: str, *rest: object) -> object:
    """Import what the module of data needs: from the standard library itself, from the package nothing."""
    return __import__(name) if name in ("datetime", "decimal") else SimpleNamespace(__all__=())


def find_model(provider: "Provider", model: str) -> "ModelInfo | None":
    """Return the first of a provider's models that this name fits, as `genai_prices.types.Provider.find_model` does.

    A date without hyphens, such as LiteLLM and OpenRouter write it, also fits one with hyphens.
    """
    name = model.lower()
    dashed = _COMPACT_DATE.sub(_with_hyphens, name)
    for each in dict.fromkeys((name, dashed)):
        for found in provider.models:
            if _fits(found.match, each):
                return found
    return None


def _with_hyphens(digits: re.Match[str]) -> str:
    try:
        return date(*map(int, digits.groups())).isoformat()
    except ValueError:
        return digits[0]


def _fits(clause: "MatchLogic", name: str) -> bool:
    """Return True if a name, in lower case, meets the condition of a model."""
    [(operation, value)] = cast(Mapping[str, object], vars(clause)).items()
    if operation == "or_" or operation == "and_":
        parts = (_fits(each, name) for each in cast("list[MatchLogic]", value))
        return any(parts) if operation == "or_" else all(parts)
    text = str(value)
    if operation == "regex":
        return re.search(text, name) is not None
    text = text.lower()
    match operation:
        case "equals":
            return name == text
        case "starts_with":
            return name.startswith(text)
        case "ends_with":
            return name.endswith(text)
        case "contains":
            return text in name
    return False
