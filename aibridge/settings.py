"""Kinds of setting: each is an attrs field that takes exactly its own kind of TOML value, within its range.

A value is never turned into another kind to make it fit: ``"8080"`` is not a number, and ``1`` is not true.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from attrs import Attribute, field

SECRET = "secret"  # noqa: S105 - the name of a mark
"""Marks in a field's metadata that its values are never shown."""

LONGEST = 366 * 86400
"""Seconds; a longer time-out is a slip."""

Check = Callable[[Any], str | None]
"""Says what is wrong with a value; None if nothing is."""

_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "a list",
    tuple: "a list",
    dict: "a table",
}
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
_FRAMING = {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade"}
_CREDENTIALS = {"authorization", "proxy-authorization", "cookie", "x-api-key", "x-aibridge-key"}
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")


class Unusable(ValueError):
    """A value that its field does not take."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name
        self.why = why


def kind_of(value: object) -> str:
    """What a value is, without saying the value."""
    return _KINDS.get(type(value), "a date or time")


def wrong_with_name(value: str) -> str | None:
    """What keeps that from being the name of a provider or a server."""
    return None if _NAME.fullmatch(value) else "a name is made of a-z and 0-9, with single hyphens between them"


def name() -> Any:
    """What the operator calls a provider or a server."""
    return setting(str, wrong_with_name)


def text() -> Any:
    """A string that need not be there."""
    return setting(str, lambda value: None if value else "is empty", default=None)


def word(default: str) -> Any:
    """A string that is there in any case."""
    return setting(str, lambda value: None if value else "is empty", default=default)


def switch(default: bool) -> Any:
    """True or false."""
    return setting(bool, default=default)


def count(default: int | None, *, least: int = 1, most: int = 2**63 - 1) -> Any:
    """A whole number within that range; it need not be there where the default is None."""
    why = f"must be at least {least}" + (f" and at most {most}" if most < 2**63 - 1 else "")
    return setting(int, lambda value: None if least <= value <= most else why, default=default)


def seconds(default: float, *, zero: bool = False) -> Any:
    """A time; more than nothing unless ``zero``."""

    def check(value: float) -> str | None:
        if value == 0 and zero:
            return None
        return None if 0 < value <= LONGEST else f"must be more than 0 and at most {LONGEST} seconds"

    return setting(float, check, default=default)


def choice(*words: str, **options: Any) -> Any:
    """One of these words."""
    meant = " or ".join(f'"{word}"' for word in words)
    return setting(str, lambda value: None if value in words else f"must be {meant}", **options)


def header_name(default: str) -> Any:
    """A header that tells something, and is neither a credential nor part of the connection's business."""
    return setting(str, _wrong_with_header_name, default=default)


def base_url() -> Any:
    """Where a provider's upstream is, kept without a trailing slash."""
    return setting(str, _wrong_with_base_url, converter=_without_slash)


def url() -> Any:
    """Where a server is, if it has a URL. Its query may hold a key."""
    return setting(str, _wrong_with_url, default=None, repr=False)


def secret() -> Any:
    """Something to prove who one is with."""
    return setting(str, _wrong_with_secret, default=None, repr=False, metadata={SECRET: True})


def headers() -> Any:
    """Header fields, and as these may be credentials, their values are secret."""
    return setting(dict, _wrong_with_headers, factory=dict, repr=False, metadata={SECRET: True})


def variables() -> Any:
    """An environment, and as its variables may be credentials, their values are secret."""
    return setting(dict, _wrong_with_variables, factory=dict, repr=False, metadata={SECRET: True})


def sources() -> Any:
    """For each name of a table of secrets, the variable or the file that holds its value."""
    return setting(dict, _wrong_with_sources, factory=dict)


def paths() -> Any:
    """Paths below a provider's prefix."""
    return setting(tuple, _wrong_with_paths, default=(), converter=as_tuple)


def words() -> Any:
    """Strings, such as the arguments of a command."""
    return setting(tuple, _wrong_with_words, default=(), converter=as_tuple)


def pattern() -> Any:
    """A regular expression; the empty string stands for none."""
    return setting(str, _wrong_with_pattern, default="")


def setting(kind: type, check: Check = lambda value: None, **options: Any) -> Any:
    def validate(_: object, attribute: "Attribute[Any]", value: Any) -> None:
        if value is None and attribute.default is None:
            return
        if type(value) is not kind and (kind, type(value)) != (float, int):
            raise Unusable(attribute.name, f"must be {_KINDS[kind]}, not {kind_of(value)}")
        if why := check(value):
            raise Unusable(attribute.name, why)

    return field(validator=validate, **options)


def _wrong_with_header_name(value: str) -> str | None:
    if not _HEADER_NAME.fullmatch(value):
        return "is no header's name"
    return "can't be that header" if value.lower() in _FRAMING | _CREDENTIALS else None


def _wrong_with_base_url(value: str) -> str | None:
    if why := _wrong_with_url(value):
        return why
    return "must not hold a query or a fragment" if "?" in value or "#" in value else None


def _wrong_with_url(value: str) -> str | None:
    try:
        url = urlsplit(value)
        reachable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        reachable = False
    if not reachable or not _VISIBLE.fullmatch(value):
        return "is no http or https URL"
    return "must not hold a user or a password" if "@" in url.netloc else None


def _wrong_with_secret(value: str) -> str | None:
    return None if _VISIBLE.fullmatch(value) else "is empty, or has a character that no header can carry"


def _wrong_with_headers(value: dict[str, Any]) -> str | None:
    for name, content in value.items():
        if not _HEADER_NAME.fullmatch(name):
            return "has a name that no header can have"
        if name.lower() in _FRAMING:
            return f"{name} is not for the operator to set"
        if type(content) is not str or not _HEADER_VALUE.fullmatch(content):
            return f"{name} must be a string that a header can carry"
    return None


def _wrong_with_variables(value: dict[str, Any]) -> str | None:
    for name, content in value.items():
        if not name.isprintable() or not name or "=" in name:
            return "has a name that no variable can have"
        if type(content) is not str or "\0" in content:
            return f"{name} must be a string that a variable can carry"
    return None


def _wrong_with_sources(value: dict[str, Any]) -> str | None:
    for name, source in value.items():
        if not name.isprintable():
            return "has a name that nothing can have"
        if type(source) is not str or not source or not source.isprintable():
            return f"{name} must be the name of where its value is"
    return None


def _wrong_with_words(value: tuple[Any, ...]) -> str | None:
    return None if all(type(word) is str and "\0" not in word for word in value) else "must be a list of strings"


def _wrong_with_pattern(value: str) -> str | None:
    try:
        re.compile(value)
    except re.error as error:
        return f"is no regular expression: {error}"
    return None


def _wrong_with_paths(value: tuple[Any, ...]) -> str | None:
    if all(type(path) is str and _PATH.fullmatch(path) for path in value):
        return None
    return 'must be a list of plain paths, such as ["/embeddings"]'


def on_one_line(error: ValueError) -> str:
    """What others say of a value may quote it, with whatever ends a line."""
    return " ".join(str(error).split())


def _without_slash(value: Any) -> Any:
    return value.rstrip("/") if type(value) is str else value


def as_tuple(value: Any) -> Any:
    return tuple(value) if type(value) is list else value
