"""Kinds of setting: attrs fields that accept only their own type of value, within a range.

Configuration files and host programs share them, so a wrong value is refused in the same words wherever it comes from.
No value is converted to make it fit: ``"8080"`` is not a number, and ``1`` is not true.
"""

import os
import re
from collections.abc import Callable
from datetime import date, time
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from attrs import Attribute, Factory, field

from .http.proxies import OFF, read_proxy

T = TypeVar("T")

SECRET = "secret"  # noqa: S105 - the name of a mark
"""Key in a field's metadata: the field's values are never shown."""

KIND = "kind"
"""Key in a field's metadata: the type of the field's values."""

LONGEST = 366 * 86400
"""Seconds; the longest timeout that can be set."""

_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "a list",
    tuple: "a list",
    dict: "a table",
    type(None): "None",
}
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
_FRAMING = {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade"}
_CREDENTIALS = {"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-aibridge-key"}
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://[a-z0-9._-]+(:[0-9]{1,5})?|[a-z][a-z0-9+.-]*://\[[0-9a-f:.]+\](:[0-9]{1,5})?"
)
_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")


class InvalidSetting(ValueError):
    """A value that a setting refuses. Neither the message nor `why` contains the value of a secret."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name
        self.why = why


def setting(
    kind: type[T], check: Callable[[T], str | None] = lambda value: None, *, optional: bool = False, **options: Any
) -> Any:
    """A field for values of exactly that type; None is accepted where it is the default, or the field `optional`.

    `check` returns what is wrong with a value, or None if nothing is. `options` are those of `attrs.field`.
    """

    def validate(_: object, attribute: "Attribute[Any]", value: Any) -> None:
        if value is None and (optional or attribute.default is None):
            return
        if type(value) is not kind and (kind, type(value)) != (float, int):
            raise InvalidSetting(attribute.name, f"must be {_KINDS.get(kind, kind.__name__)}, not {kind_of(value)}")
        if why := check(value):
            raise InvalidSetting(attribute.name, why)

    return field(validator=validate, metadata={KIND: kind} | options.pop("metadata", {}), **options)


def kind_of(value: object) -> str:
    """Return what sort of value that is, without the value itself."""
    if isinstance(value, date | time):
        return "a date or time"
    return _KINDS.get(type(value), type(value).__name__)


def on_one_line(error: Exception) -> str:
    """Return the message of another library's error on one line; it may quote a value that has several."""
    return " ".join(str(error).split())


def name(**options: Any) -> Any:
    """The name of a provider or a server."""
    return setting(str, check_name, **options)


def check_name(value: str) -> str | None:
    """Return why that can't be the name of a provider or a server; None if it can."""
    return None if _NAME.fullmatch(value) else "must be a name of a-z and 0-9, with single hyphens between them"


def text() -> Any:
    """An optional string."""
    return setting(str, lambda value: None if value else "must not be empty", default=None)


def path() -> Any:
    """The path of a file or a folder; an empty one is none."""
    return setting(str, lambda value: "must not contain a NUL" if "\0" in value else None, default="")


def word(default: str) -> Any:
    """A string that is not empty."""
    return setting(str, lambda value: None if value else "must not be empty", default=default)


def switch(default: bool) -> Any:
    """True or false."""
    return setting(bool, default=default)


def count(default: int | None, *, least: int = 1, most: int = 2**63 - 1) -> Any:
    """A whole number within that range; optional if the default is None."""
    why = f"must be at least {least}" + (f" and at most {most}" if most < 2**63 - 1 else "")
    return setting(int, lambda value: None if least <= value <= most else why, default=default)


def seconds(default: float, *, zero: bool = False) -> Any:
    """A duration: more than 0, or with `zero` at least 0."""

    def check(value: float) -> str | None:
        if value == 0 and zero:
            return None
        return None if 0 < value <= LONGEST else f"must be more than 0 and at most {LONGEST} seconds"

    return setting(float, check, default=default)


def ratio(default: float) -> Any:
    """A share of a whole: a number from 0 to 1."""
    return setting(float, lambda value: None if 0 <= value <= 1 else "must be from 0 to 1", default=default)


def choice(*words: str, **options: Any) -> Any:
    """A string out of these."""
    why = "must be " + " or ".join(f'"{word}"' for word in words)
    return setting(str, lambda value: None if value in words else why, **options)


def pattern() -> Any:
    """A regular expression; the empty string matches everything."""

    def check(value: str) -> str | None:
        try:
            re.compile(value)
        except re.error as error:
            return f"must be a regular expression: {on_one_line(error)}"
        return None

    return setting(str, check, default="")


def header_name(default: str) -> Any:
    """The name of a header that is neither a credential nor part of HTTP's framing."""
    return setting(str, check_header_name, default=default)


def check_header_name(value: str) -> str | None:
    """Return why that can't be the name of a header in which a proxy states something; None if it can."""
    if not _HEADER_NAME.fullmatch(value):
        return "must be the name of a header, such as X-Forwarded-User"
    if value.lower() in _FRAMING | _CREDENTIALS:
        return "must not be a header of credentials or of the connection"
    return None


def url() -> Any:
    """The optional URL of a server. Its query may hold a key, so it is not shown."""
    return setting(str, _check_url, default=None, repr=False)


def base_url(**options: Any) -> Any:
    """The URL of a provider's API, to which paths are added. A slash at its end is removed."""

    def check(value: str) -> str | None:
        return _check_url(value) or ("must not have a query or a fragment" if "?" in value or "#" in value else None)

    def without_slash(value: Any) -> Any:
        return value.rstrip("/") if type(value) is str else value

    return setting(str, check, converter=without_slash, **options)


def _check_url(value: str) -> str | None:
    try:
        url = urlsplit(value)
        reachable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        reachable = False
    if not reachable or not _VISIBLE.fullmatch(value):
        return "must be an http or https URL, such as https://host/path"
    return "must not contain a user or a password" if "@" in url.netloc else None


def proxy() -> Any:
    """The optional URL of an HTTP proxy, or ``off`` for none. It may hold a password, so it is secret."""

    def check(value: str) -> str | None:
        try:
            if value != OFF:
                read_proxy(value)
        except ValueError as error:
            return f'{error}, or "{OFF}"'
        return None

    return setting(str, check, default=None, repr=False, metadata={SECRET: True})


def tls_file(read: Callable[[str], object]) -> Any:
    """The optional path of a PEM file. `read` raises ValueError if the file can't be used."""

    def check(value: str) -> str | None:
        try:
            read(value)
        except ValueError as error:
            return on_one_line(error)
        return None

    return setting(str, check, default=None)


def secret() -> Any:
    """An optional credential that fits into a header."""
    return setting(str, _check_secret, default=None, repr=False, metadata={SECRET: True})


def sourced_secret(name: str) -> Any:
    """An optional credential, by default what the settings ``{name}_file`` or ``{name}_env`` of the object name."""

    def find(settings: Any) -> str | None:
        file, variable = getattr(settings, f"{name}_file"), getattr(settings, f"{name}_env")
        if type(file) is not str or not file:  # what is no name is refused afterwards
            return os.environ.get(variable) if type(variable) is str else None
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise InvalidSetting(f"{name}_file", f"can't be read: {error.strerror}") from error
        except ValueError as error:
            raise InvalidSetting(f"{name}_file", "must be the name of a text file") from error

    default = Factory(find, takes_self=True)
    return setting(str, _check_secret, default=default, optional=True, repr=False, metadata={SECRET: True})


def secrets() -> Any:
    """Credentials that fit into a header."""

    def check(value: tuple[Any, ...]) -> str | None:
        if any(type(secret) is not str for secret in value):
            return "must be a list of strings"
        if len(set(value)) < len(value):
            return "must not have a key twice"
        return next(filter(None, map(_check_secret, value)), None)

    return setting(tuple, check, default=(), converter=as_tuple, repr=False, metadata={SECRET: True})


def _check_secret(value: str) -> str | None:
    if not value:
        return "must not be empty"
    return None if _VISIBLE.fullmatch(value) else "must be of visible ASCII characters, as headers carry no others"


def headers() -> Any:
    """Header fields by name. Their values may be credentials, so they are secret."""
    return setting(dict, _check_headers, factory=dict, repr=False, metadata={SECRET: True})


def _check_headers(value: dict[Any, Any]) -> str | None:
    for name, content in value.items():
        if type(name) is not str or not _HEADER_NAME.fullmatch(name):
            return "must have names of headers only, such as X-Team"
        if name.lower() in _FRAMING:
            return f"must not set {name}: the gateway sets it itself"
        if type(content) is not str or not _HEADER_VALUE.fullmatch(content):
            return f"{name} must be a string that a header can carry"
    return None


def variables() -> Any:
    """Environment variables by name. Their values may be credentials, so they are secret."""

    def check(value: dict[Any, Any]) -> str | None:
        for name, content in value.items():
            if type(name) is not str or not name.isprintable() or not name or "=" in name:
                return "must have names of environment variables only"
            if type(content) is not str or "\0" in content:
                return f"{name} must be a string that an environment variable can hold"
        return None

    return setting(dict, check, factory=dict, repr=False, metadata={SECRET: True})


def sources() -> Any:
    """The variable or the file that holds the value of each secret, by the secret's name."""

    def check(value: dict[Any, Any]) -> str | None:
        for name, source in value.items():
            if type(name) is not str or not name.isprintable():
                return "must have printable names only"
            if type(source) is not str or not source or not source.isprintable():
                return f"{name} must be the name of the variable or file that holds its value"
        return None

    return setting(dict, check, factory=dict)


def paths() -> Any:
    """Paths below a provider's prefix."""

    def check(value: tuple[Any, ...]) -> str | None:
        if all(type(path) is str and _PATH.fullmatch(path) for path in value):
            return None
        return 'must be a list of plain paths, such as ["/embeddings"]'

    return setting(tuple, check, default=(), converter=as_tuple)


def origins() -> Any:
    """Origins of web pages; ``*`` stands for all."""

    def check(value: tuple[Any, ...]) -> str | None:
        if all(type(origin) is str and (origin == "*" or _ORIGIN.fullmatch(origin)) for origin in value):
            return None
        return 'must be a list of origins in lower case, such as ["https://chat.example"], or ["*"]'

    return setting(tuple, check, default=(), converter=as_tuple)


def names() -> Any:
    """Names of providers."""

    def check(value: tuple[Any, ...]) -> str | None:
        wrong = (check_name(name) if type(name) is str else "must be a list of names" for name in value)
        return next(filter(None, wrong), None) or ("must not name one twice" if len(set(value)) < len(value) else None)

    return setting(tuple, check, default=(), converter=as_tuple)


def words() -> Any:
    """Strings, such as the arguments of a command."""

    def check(value: tuple[Any, ...]) -> str | None:
        return None if all(type(word) is str and "\0" not in word for word in value) else "must be a list of strings"

    return setting(tuple, check, default=(), converter=as_tuple)


def part(name: str, cls: type) -> Any:
    """Optional settings of a part, as an object of their own class; as in a file, a table of them will do."""

    def from_table(value: Any) -> Any:
        try:
            return cls(**value) if type(value) is dict else value
        except InvalidSetting as error:
            raise InvalidSetting(name, f"{error.name} {error.why}") from error
        except TypeError as error:
            raise InvalidSetting(name, f"must be {cls.__name__}: {on_one_line(error)}") from error

    return setting(cls, default=None, converter=from_table)


def as_tuple(value: Any) -> Any:
    """Return a list as a tuple; any other value as it is, for the validator."""
    return tuple(value) if type(value) is list else value
