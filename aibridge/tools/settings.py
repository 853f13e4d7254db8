"""What can be said of an MCP server."""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from attrs import frozen

from .. import settings
from ..settings import InvalidSetting

STREAMABLE_HTTP = "streamable-http"
SSE = "sse"
STDIO = "stdio"

_HTTP = ("url", "headers")
_PROCESS = ("command", "args", "env")
_SHORTEST_SECRET = 6
"""Characters; hiding what is shorter would only make a message unreadable."""


@frozen(kw_only=True)
class ServerSettings:
    """An MCP server; its name is part of its tools' names. Times in seconds. Raises `InvalidSetting`."""

    name: str = settings.name()
    transport: str = settings.choice(STREAMABLE_HTTP, SSE, STDIO, default=STREAMABLE_HTTP)
    url: str | None = settings.url()
    headers: Mapping[str, str] = settings.headers()
    command: str | None = settings.text()
    """The program of a ``stdio`` server. Of this process's environment it gets the harmless part only."""
    args: tuple[str, ...] = settings.words()
    env: Mapping[str, str] = settings.variables()
    allow: str = settings.pattern()
    deny: str = settings.pattern()
    call_timeout: float = settings.seconds(60.0)
    connect_timeout: float = settings.seconds(30.0)
    max_result_bytes: int = settings.count(2**20)
    """A larger result is told to the model as an error. (``sse`` servers can't send one over 1 MiB in any case.)"""

    def __attrs_post_init__(self) -> None:
        own, foreign = (_PROCESS, _HTTP) if self.transport == STDIO else (_HTTP, _PROCESS)
        if getattr(self, own[0]) is None:
            raise InvalidSetting(own[0], f"missing; a {self.transport} server has one")
        for key in foreign:
            if getattr(self, key):
                raise InvalidSetting(key, f"is not for a {self.transport} server")

    @property
    def address(self) -> str:
        """Where the server is, as it may be shown: without a query, which may hold a key."""
        return urlsplit(self.url)._replace(query="", fragment="").geturl() if self.url else f"stdio:{self.command}"

    def allows(self, tool: str) -> bool:
        """Whether the filters let a tool of that name through."""
        if self.deny and re.search(self.deny, tool):
            return False
        return re.search(self.allow, tool) is not None

    def redact(self, text: str) -> str:
        """The text without what is secret in these settings; a server may repeat what it was sent."""
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, "…")
        return text

    def _secrets(self) -> Iterator[str]:
        query = urlsplit(self.url or "").query
        for value in (*self.headers.values(), *self.env.values(), query, *re.findall(r"=([^&]*)", query)):
            yield from (word for word in (value, *value.split()) if len(word) >= _SHORTEST_SECRET)
