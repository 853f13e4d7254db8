"""Recognition of client programs, and of their sessions, by the headers and bodies that each is known to send.

To add a client, add a line to `_PREFIXES` or `_MARKS`, and one to `_SESSION_HEADERS` if it sends a session's name.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

HeaderValues = Mapping[bytes, Sequence[bytes]]
"""A request's header values, by the header's name in lower case."""

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
ANTHROPIC_SDK = "Anthropic SDK"
OPENAI_SDK = "OpenAI SDK"
VERCEL_SDK = "Vercel AI SDK"

# Anthropic's SDK has a client for each cloud, such as ``AnthropicBedrock``.
_CLOUDS = (b"aws", b"bedrock", b"foundry", b"googlecloud", b"vertex")
# By the beginning of the User-Agent, in lower case. The first that fits counts.
_PREFIXES = (
    (b"mux/", MUX),
    (b"claude-cli/0.", "Qwen Code"),  # in its Anthropic mode, with its own version; Claude Code's is 1 or higher
    (b"claude", CLAUDE_CODE),
    (b"qwencode/", "Qwen Code"),
    (b"codex", CODEX),
    (b"zed/", "Zed"),
    (b"githubcopilotchat/", COPILOT_VSCODE),
    (b"copilot/", COPILOT_CLI),
    (b"kilo-code/", KILO),
    (b"roo-code/", ROO),
    (b"coder-agents/", CODER_AGENTS),
    (b"charm crush/", "Charm Crush"),
    (b"charm-crush/", "Charm Crush"),
    (b"opencode/", OPENCODE),
    (b"junie:", "Junie"),
    (b"agents/", "OpenAI Agents SDK"),
    (b"litellm/", "LiteLLM"),
    (b"langchain", "LangChain"),
    (b"pydantic-ai/", "Pydantic AI"),
    (b"ai/", VERCEL_SDK),
    (b"ai-sdk", VERCEL_SDK),
    (b"anthropic/", ANTHROPIC_SDK),
    (b"asyncanthropic/", ANTHROPIC_SDK),
    (b"anthropicclient", ANTHROPIC_SDK),  # for Java
    *((b"anthropic%b" % cloud, ANTHROPIC_SDK) for cloud in _CLOUDS),
    *((b"asyncanthropic%b" % cloud, ANTHROPIC_SDK) for cloud in _CLOUDS),
    (b"openai/", OPENAI_SDK),
    (b"asyncopenai/", OPENAI_SDK),
    (b"openaiclient", OPENAI_SDK),  # for Java
    (b"azureopenai/", OPENAI_SDK),
    (b"asyncazureopenai/", OPENAI_SDK),
)
_CLIENTS = dict(_PREFIXES)
_KNOWN = re.compile(b"|".join(map(re.escape, _CLIENTS)))
# Programs that are built on an SDK and keep its User-Agent, by the beginning of their `originator` header.
_ORIGINATORS = {b"kilo-code": KILO, b"roo-code": ROO}
# The same by headers that only they send together.
_MARKS = (
    ({b"x-cursor-client-version"}, CURSOR),
    ({b"x-initiator", b"x-interaction-type"}, COPILOT_CLI),
)
_MARKED = {UNKNOWN, ANTHROPIC_SDK, OPENAI_SDK, VERCEL_SDK}

# The headers that name a session, the most likely first.
_SESSION_HEADERS = {
    CLAUDE_CODE: (b"x-claude-code-session-id",),
    CODEX: (b"session-id", b"session_id"),
    MUX: (b"x-mux-workspace-id",),
    COPILOT_VSCODE: (b"x-interaction-id",),
    COPILOT_CLI: (b"x-client-session-id",),
    KILO: (b"x-kilocode-taskid", b"x-session-id", b"x-session-affinity"),
    CODER_AGENTS: (b"x-coder-chat-id",),
    OPENCODE: (b"x-session-id", b"x-opencode-session", b"x-session-affinity"),
    ANTHROPIC_SDK: (b"session_id",),  # sent by pi, which is built on these
    OPENAI_SDK: (b"session_id",),
}


def client_of(headers: HeaderValues) -> str:
    """Return the name of the program that sends these headers; `UNKNOWN` if none fits."""
    if originators := headers.get(b"originator"):
        for name, client in _ORIGINATORS.items():
            if originators[0].lower().startswith(name):
                return client
    agents = headers.get(b"user-agent")
    known = _KNOWN.match(agents[0].lower()) if agents else None
    client = _CLIENTS[known[0]] if known else UNKNOWN
    if client in _MARKED:
        for marks, marked in _MARKS:
            if headers.keys() >= marks:
                return marked
    return client


def session_of(client: str, headers: HeaderValues, body: Mapping[str, Any]) -> str | None:
    """Return the client's own name for the conversation, from its headers or else the request's body; None without."""
    for name in _SESSION_HEADERS.get(client, ()):
        if (values := headers.get(name)) and values[0]:
            return values[0].decode("utf-8", "replace")
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
