"""Recognition of client programs, and of their sessions, by the headers and bodies that each is known to send.

To add a client, add a line to `_PREFIXES`, and one to `_SESSION_HEADERS` if it sends the name of its session.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson
from twisted.web.http_headers import Headers

UNKNOWN = "Unknown"
CURSOR = "Cursor"
CLAUDE_CODE = "Claude Code"
CODEX = "Codex"
KILO = "Kilo Code"
ROO = "Roo Code"
MUX = "Mux"
COPILOT_VSCODE = "GitHub Copilot (VS Code)"
COPILOT_CLI = "GitHub Copilot (CLI)"
CODER_AGENTS = "Coder Agents"
OPENCODE = "OpenCode"

# By the beginning of the User-Agent, in lower case.
_PREFIXES = (
    ("mux/", MUX),
    ("claude", CLAUDE_CODE),
    ("codex", CODEX),
    ("zed/", "Zed"),
    ("githubcopilotchat/", COPILOT_VSCODE),
    ("copilot/", COPILOT_CLI),
    ("kilo-code/", KILO),
    ("roo-code/", ROO),
    ("coder-agents/", CODER_AGENTS),
    ("charm crush/", "Charm Crush"),
    ("charm-crush/", "Charm Crush"),
    ("opencode/", OPENCODE),
    ("junie:", "Junie"),
    ("anthropic/", "Anthropic SDK"),
    ("asyncanthropic/", "Anthropic SDK"),
    ("openai/", "OpenAI SDK"),
    ("asyncopenai/", "OpenAI SDK"),
    ("agents/", "OpenAI Agents SDK"),
    ("litellm/", "LiteLLM"),
)
_CLIENTS = dict(_PREFIXES)
_KNOWN = re.compile("|".join(map(re.escape, _CLIENTS)))
# Clients that are built on an SDK and keep its User-Agent, by the beginning of their `originator` header.
_ORIGINATORS = {"kilo-code": KILO, "roo-code": ROO}

# The headers that name a session, the most likely first.
_SESSION_HEADERS = {
    CLAUDE_CODE: ("x-claude-code-session-id",),
    CODEX: ("session-id", "session_id"),
    MUX: ("x-mux-workspace-id",),
    COPILOT_VSCODE: ("x-interaction-id",),
    COPILOT_CLI: ("x-client-session-id",),
    KILO: ("x-kilocode-taskid",),
    CODER_AGENTS: ("x-coder-chat-id",),
    OPENCODE: ("x-session-id", "x-opencode-session", "x-session-affinity"),
}


def client_of(headers: Headers) -> str:
    """Return the name of the program that sends these headers; `UNKNOWN` if none fits."""
    if originator := _header(headers, "originator"):
        for name, client in _ORIGINATORS.items():
            if originator.casefold().startswith(name):
                return client
    if (agent := _header(headers, "user-agent")) and (known := _KNOWN.match(agent.casefold())):
        return _CLIENTS[known[0]]
    return CURSOR if headers.hasHeader(b"x-cursor-client-version") else UNKNOWN


def session_of(client: str, headers: Headers, body: Mapping[str, Any]) -> str | None:
    """Return the client's own name for the conversation, from its headers or else the request's body; None without."""
    for name in _SESSION_HEADERS.get(client, ()):
        if value := _header(headers, name):
            return value
    if client == CLAUDE_CODE:
        return _claude_code_session(body)
    key = body.get("prompt_cache_key") if client == CODEX else None
    return key if isinstance(key, str) and key else None


def _claude_code_session(body: Mapping[str, Any]) -> str | None:
    metadata = body.get("metadata")
    user_id = metadata.get("user_id") if isinstance(metadata, dict) else None
    if not isinstance(user_id, str):
        return None
    try:
        parsed = orjson.loads(user_id)
    except orjson.JSONDecodeError:
        return user_id.partition("_session_")[2] or None  # the form of versions before 2.1
    session = parsed.get("session_id") if isinstance(parsed, dict) else None
    return session if isinstance(session, str) and session else None


def _header(headers: Headers, name: str) -> str | None:
    values = headers.getRawHeaders(name.encode())
    return values[0].decode("utf-8", "replace") if values and values[0] else None
