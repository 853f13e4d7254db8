"""Client programs and their sessions."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.http.headers import RawHeaders
from aibridge.identity.clients import client_of, session_of

AGENTS = {
    "mux/0.1": "Mux",
    "claude-cli/2.1.330 (external, sdk-cli)": "Claude Code",
    "claude-code/2.1.330": "Claude Code",
    "codex_exec/0.169.0 (Debian 12.0.0; x86_64) dumb (codex_exec; 0.169.0)": "Codex",
    "codex_cli_rs/0.50.0": "Codex",
    "Zed/0.200": "Zed",
    "GitHubCopilotChat/0.30": "GitHub Copilot (VS Code)",
    "copilot/1.0 (client/cli linux)": "GitHub Copilot (CLI)",
    "Kilo-Code/4.1": "Kilo Code",
    "Roo-Code/3.2": "Roo Code",
    "coder-agents/1": "Coder Agents",
    "Charm Crush/1": "Charm Crush",
    "charm-crush/1": "Charm Crush",
    "opencode/1.18.33 ai-sdk/provider-utils/4.0.46 runtime/bun/1.3.14": "OpenCode",
    "Junie:1.2": "Junie",
    "Anthropic/Python 2.12.0": "Anthropic SDK",
    "AsyncAnthropic/Python 2.12.0": "Anthropic SDK",
    "OpenAI/JS 7.57.0": "OpenAI SDK",
    "AsyncOpenAI/Python 3.54.0": "OpenAI SDK",
    "Agents/Python 0.24.0": "OpenAI Agents SDK",
    "litellm/1.81.10": "LiteLLM",
    "ai/7.0.173 ai-sdk-provider-utils/4.0": "Vercel AI SDK",
    "ai-sdk-anthropic/3.0.1": "Vercel AI SDK",
    "ai-sdk-openai-compatible/2.0": "Vercel AI SDK",
    "ai-sdk/openai/3.0": "Vercel AI SDK",
    "QwenCode/0.24.4 (linux; x64)": "Qwen Code",
    "claude-cli/0.24.4 (external, cli)": "Qwen Code",
    "claude-cli/1.0.128 (external, cli)": "Claude Code",
    "langchain-anthropic/1.3": "LangChain",
    "langchainjs-openai/1.0.0": "LangChain",
    "pydantic-ai/2.1": "Pydantic AI",
    "AnthropicClientImpl/Java 2.11.1": "Anthropic SDK",
    "AnthropicClientAsyncImpl/Java 2.11.1": "Anthropic SDK",
    "OpenAIClientImpl/Java 4.8.0": "OpenAI SDK",
    "OpenAIClientAsyncImpl/Java 4.8.0": "OpenAI SDK",
    "AnthropicBedrock/Python 2.14.0": "Anthropic SDK",
    "AsyncAnthropicVertex/Python 2.14.0": "Anthropic SDK",
    "AnthropicFoundry/JS 1.12.0": "Anthropic SDK",
    "AzureOpenAI/Python 3.57.0": "OpenAI SDK",
    "AsyncAzureOpenAI/Python 3.57.0": "OpenAI SDK",
    "curl/8": "Unknown",
    "Mozilla/5.0 claude": "Unknown",
    "": "Unknown",
}
SESSION_HEADERS = {
    "Claude Code": ["X-Claude-Code-Session-Id"],
    "Codex": ["session-id", "session_id"],
    "Mux": ["X-Mux-Workspace-Id"],
    "GitHub Copilot (VS Code)": ["x-interaction-id"],
    "GitHub Copilot (CLI)": ["X-Client-Session-Id"],
    "Kilo Code": ["X-KILOCODE-TASKID", "x-session-id", "x-session-affinity"],
    "Coder Agents": ["X-Coder-Chat-Id"],
    "OpenCode": ["x-session-id", "X-OpenCode-Session", "x-session-affinity"],
    "OpenAI SDK": ["session_id"],
    "Anthropic SDK": ["session_id"],
}

_json = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["user_id", "session_id"]), inner),
    max_leaves=5,
)


def headers(**named):
    return fields({name.replace("_", "-"): value for name, value in named.items()})


def fields(values):
    pairs = [(name, value if isinstance(value, bytes) else value.encode()) for name, value in values.items()]
    return RawHeaders([(name.encode(), value) for name, value in pairs]).by_name


class ClientTests(SynchronousTestCase):
    """A program is recognized by its headers."""

    def test_agents(self):
        """The beginning of the User-Agent decides, in upper or lower case."""
        for agent, client in AGENTS.items():
            for written in (agent, agent.upper(), agent.lower()):
                self.assertEqual(client_of(headers(User_Agent=written)), client, written)
        self.assertEqual(client_of({}), "Unknown")

    def test_originator(self):
        """Clients with an SDK's User-Agent are recognized by their `originator` header."""
        for originator, client in (
            ("kilo-code", "Kilo Code"),
            ("Roo-Code", "Roo Code"),
            ("kilo-code/4.1", "Kilo Code"),
        ):
            for agent in ("OpenAI/JS 7.57.0", "node", ""):
                self.assertEqual(client_of(headers(User_Agent=agent, originator=originator)), client)

    def test_other_originators(self):
        """An unknown originator changes nothing."""
        self.assertEqual(client_of(headers(User_Agent="codex_exec/1", originator="codex_exec")), "Codex")
        self.assertEqual(client_of(headers(originator="someone")), "Unknown")

    def test_cursor(self):
        """Cursor is recognized by its own header, unless the User-Agent is known."""
        self.assertEqual(client_of(headers(x_cursor_client_version="1")), "Cursor")
        self.assertEqual(client_of(headers(User_Agent="Mozilla/5.0", x_cursor_client_version="1")), "Cursor")

    def test_marks(self):
        """Programs that keep an SDK's User-Agent are recognized by headers that only they send together."""
        for agent, client in (
            ("OpenAI/JS 6.49.0", "GitHub Copilot (CLI)"),
            ("Anthropic/JS 1.12.0", "GitHub Copilot (CLI)"),
            ("node", "GitHub Copilot (CLI)"),
            ("GitHubCopilotChat/0.30", "GitHub Copilot (VS Code)"),
            ("opencode/1.18.33", "OpenCode"),
        ):
            self.assertEqual(client_of(headers(User_Agent=agent, x_initiator="user", x_interaction_type="x")), client)
        self.assertEqual(client_of(headers(User_Agent="OpenAI/JS 6.49.0", x_initiator="user")), "OpenAI SDK")

    def test_any_bytes(self):
        """Headers that are not UTF-8 raise no error."""
        self.assertEqual(client_of(headers(User_Agent=b"\xff\xfe", originator=b"\xff")), "Unknown")
        self.assertEqual(client_of(headers(User_Agent=b"codex\xff")), "Codex")


class SessionTests(SynchronousTestCase):
    """A session has the client's own name for it."""

    def test_headers(self):
        """Each client's session comes from its own headers, the most likely first."""
        for client, named in SESSION_HEADERS.items():
            for position, name in enumerate(named):
                sent = fields({later: f"v-{later}" for later in named[position:]})
                self.assertEqual(session_of(client, sent, {}), f"v-{name}")
                self.assertIsNone(session_of("LiteLLM", sent, {}))
            self.assertIsNone(session_of(client, fields(dict.fromkeys(named, "")), {}))

    def test_claude_code_body(self):
        """Claude Code: in the user id, which is JSON in newer versions and a speaking name in older ones."""
        told = json.dumps({"device_id": "d", "account_uuid": "", "session_id": "s-1"})
        older = "user_0123abc_account__session_s-2"
        for user_id, session in (
            (told, "s-1"),
            (older, "s-2"),
            ("user_0123abc", None),
            ("user_x_session_", None),
            (json.dumps({"session_id": ""}), None),
            (json.dumps({"session_id": 7}), None),
            (json.dumps(["session_id"]), None),
            ("7", None),
            ("", None),
        ):
            self.assertEqual(session_of("Claude Code", {}, {"metadata": {"user_id": user_id}}), session, user_id)
        sent = headers(X_Claude_Code_Session_Id="header")
        self.assertEqual(session_of("Claude Code", sent, {"metadata": {"user_id": told}}), "header")

    def test_codex_body(self):
        """Codex: the key of its prompt cache."""
        self.assertEqual(session_of("Codex", {}, {"prompt_cache_key": "s"}), "s")
        self.assertEqual(session_of("Codex", headers(session_id="header"), {"prompt_cache_key": "s"}), "header")
        for key in (None, "", 7, ["s"]):
            self.assertIsNone(session_of("Codex", {}, {"prompt_cache_key": key}))

    def test_other_clients_bodies(self):
        """Values of other types in the same places are no sessions."""
        body = {"prompt_cache_key": "s", "metadata": {"user_id": "user_x_session_s"}}
        for client in ("Unknown", "OpenAI SDK", "OpenCode"):
            self.assertIsNone(session_of(client, {}, body))

    @settings(max_examples=80, deadline=None)
    @given(_json, _json)
    def test_any_body(self, metadata, key):
        """Any value in a body gives a session or None, and no error."""
        body = {"metadata": metadata, "prompt_cache_key": key}
        body_of_text = {"metadata": {"user_id": json.dumps(metadata)}}
        for client in ("Claude Code", "Codex"):
            for each in (body, body_of_text):
                session = session_of(client, {}, each)
                self.assertTrue(session is None or (isinstance(session, str) and session))

    def test_any_bytes(self):
        """Bytes of a header that are not UTF-8 are replaced."""
        self.assertEqual(session_of("Mux", headers(X_Mux_Workspace_Id=b"a\xff"), {}), "a\ufffd")
