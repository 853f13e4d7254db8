"""The settings of an MCP server, for configuration files and host programs."""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from attrs import frozen

from .. import settings
from ..settings import InvalidSetting

STREAMABLE_HTTP = "streamable-http"
SSE = "sse"
STDIO = "stdio"

_HTTP = ("url", "headers", "proxy")
_PROCESS = ("command", "args", "env")
_SHORTEST_SECRET = 6
"""Characters; to hide shorter strings would only make a message unreadable."""


@frozen(kw_only=True)
class MCPServerSettings:
    """The settings of one MCP server. Raises `aibridge.settings.InvalidSetting` for a wrong value.

    Times are in seconds. Tools get the server's `name` as part of theirs. `allow` and `deny` are regular expressions
    that are searched for in the tools' own names; `deny` is stronger. The keys are explained in the manual:
    "Configuration", ``[mcp]``.
    """

    name: str = settings.name()
    transport: str = settings.choice(STREAMABLE_HTTP, SSE, STDIO, default=STREAMABLE_HTTP)
    url: str | None = settings.url()
    headers: Mapping[str, str] = settings.headers()
    proxy: str | None = settings.proxy()
    command: str | None = settings.text()
    """The program of a ``stdio`` server. It gets only the harmless variables of this process's environment."""
    args: tuple[str, ...] = settings.words()
    env: Mapping[str, str] = settings.variables()
    allow: str = settings.pattern()
    deny: str = settings.pattern()
    models: str = settings.pattern()
    """Searched for in a model's name: the models to which the tools are offered."""
    providers: str = settings.pattern()
    """Searched for in a provider's name: the providers to whose models the tools are offered."""
    call_timeout: float = settings.seconds(60.0)
    connect_timeout: float = settings.seconds(30.0)
    max_result_bytes: int = settings.count(2**20)
    """The model gets an error instead of a larger result. (``sse`` servers can't send more than 1 MiB in any case.)"""

    def __attrs_post_init__(self) -> None:
        own, foreign = (_PROCESS, _HTTP) if self.transport == STDIO else (_HTTP, _PROCESS)
        if getattr(self, own[0]) is None:
            raise InvalidSetting(own[0], f"missing; a {self.transport} server has one")
        for key in foreign:
            if getattr(self, key):
                raise InvalidSetting(key, f"is not for a {self.transport} server")

    @property
    def address(self) -> str:
        """The server's address for logs and records: the URL without its query, which may contain a key."""
        return urlsplit(self.url)._replace(query="", fragment="").geturl() if self.url else f"stdio:{self.command}"

    def allows(self, tool: str) -> bool:
        """True if the filters let a tool of that name through."""
        if self.deny and re.search(self.deny, tool):
            return False
        return re.search(self.allow, tool) is not None

    def serves(self, provider: str, model: str) -> bool:
        """True if the tools are offered to the models of that name at the provider of that name."""
        return bool(re.search(self.providers, provider) and re.search(self.models, model))

    def redact(self, text: str) -> str:
        """Return the text without the secrets of these settings, which a server may repeat in its messages."""
        query = urlsplit(self.url or "").query
        values = [*self.headers.values(), *self.env.values(), query, *re.findall(r"=([^&]*)", query)]
        values += [self.proxy, *re.findall(r"[^:/@]+", self.proxy.rpartition("@")[0])] if self.proxy else []
        secrets = [word for value in values for word in (value, *value.split()) if len(word) >= _SHORTEST_SECRET]
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "…")
        return text
