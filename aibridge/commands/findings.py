"""The findings of ``aibridge doctor``, and the time that a check may take."""

import threading
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import parse_qsl, urlsplit

from attrs import frozen

from ..config.model import Config
from ..record.urls import parse_url
from ..settings import on_one_line

OK = "ok"
WARNING = "warning"
BROKEN = "broken"

CHECK_TIMEOUT = 10.0
"""Seconds that a check may take."""

_SHORTEST_SECRET = 4


@frozen
class Finding:
    """The result of looking at one thing."""

    state: str
    """`OK`, `WARNING` or `BROKEN`."""
    text: str
    mend: str = ""
    """The way to mend it."""


Check = Callable[[], Iterable[Finding]]


def run_check(name: str, check: Check, timeout: float = CHECK_TIMEOUT) -> list[Finding]:
    """Return a check's findings; a check that fails or takes too long is a finding itself."""
    findings: list[Finding] = []

    def run() -> None:
        try:
            findings.extend(check())
        except Exception as error:  # a check must not keep the others from their turn
            findings.append(Finding(BROKEN, f"{name}: the check failed: {type(error).__name__}: {on_one_line(error)}"))

    # A daemon: a thread that waits for a dead disk or server must not keep the command from its end.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        mend = "see whether a lock is held, or a disk or server does not respond"
        return [*findings, Finding(BROKEN, f"{name}: no result within {timeout:g} seconds", mend)]
    return findings


class Redactor:
    """Removes the secrets of a configuration from texts, which may repeat them in another program's words."""

    def __init__(self, config: Config) -> None:
        words = {word for secret in _secrets(config) for word in (secret, *secret.split())}
        self._secrets = sorted((word for word in words if len(word) >= _SHORTEST_SECRET), key=len, reverse=True)
        self._servers = config.mcp.servers.values()

    def redact(self, text: str) -> str:
        """Return the text with each secret replaced by an ellipsis."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        for server in self._servers:
            text = server.redact(text)
        return text


def _secrets(config: Config) -> Iterator[str]:
    database = parse_url(config.database.url)
    if database.password:
        yield str(database.password)
    for provider in config.providers.values():
        yield from (provider.api_key or "", *provider.api_keys, *provider.extra_headers.values())
        for url in (provider.base_url, provider.proxy or ""):
            parts = urlsplit(url)
            yield from (parts.password or "", *(value for _, value in parse_qsl(parts.query)))
