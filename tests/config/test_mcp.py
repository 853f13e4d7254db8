"""The settings of MCP servers, and their secrets."""

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from aibridge.config.mcp import McpConfig, read_mcp
from aibridge.config.sources import ConfigSources
from aibridge.errors import ConfigError
from aibridge.settings import InvalidSetting
from aibridge.tools.settings import MCPServerSettings

URL = "https://a.test/mcp"

WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"a_b": {"url": URL}}, "mcp.a_b", "hyphens"),
    ({"a": {}}, "mcp.a.url", "missing; a streamable-http server has one"),
    ({"a": {"transport": "stdio"}}, "mcp.a.command", "missing"),
    ({"a": {"transport": "stdio", "command": "x", "url": URL}}, "mcp.a.url", "not for a stdio server"),
    ({"a": {"url": URL, "args": ["x"]}}, "mcp.a.args", "not for a streamable-http server"),
    ({"a": {"transport": "pigeon", "url": URL}}, "mcp.a.transport", "streamable-http"),
    ({"a": {"url": "a.test"}}, "mcp.a.url", "an http or https URL"),
    ({"a": {"url": "https://u:p@a.test"}}, "mcp.a.url", "password"),
    ({"a": {"url": URL, "allow": "("}}, "mcp.a.allow", "must be a regular expression"),
    ({"a": {"url": URL, "deny": ["x"]}}, "mcp.a.deny", "must be a string"),
    ({"a": {"url": URL, "call_timeout": 0}}, "mcp.a.call_timeout", "more than 0"),
    ({"a": {"url": URL, "max_result_bytes": 0}}, "mcp.a.max_result_bytes", "at least 1"),
    ({"a": {"url": URL, "headers": {"A": "x\ny"}}}, "mcp.a.headers", "A must be"),
    ({"a": {"url": URL, "headers": "x"}}, "mcp.a.headers", "must be a table"),
    ({"a": {"url": URL, "headers": "x", "headers_env": {"A": "SET"}}}, "mcp.a.headers", "must be a table"),
    ({"a": {"url": URL, "headers_env": {"A": "UNSET"}}}, "mcp.a.headers_env.A", "UNSET is not set"),
    ({"a": {"url": URL, "headers_env": {"A": 1}}}, "mcp.a.headers_env", "A must be the name"),
    ({"a": {"url": URL, "headers_env": {"A": "a\nb"}}}, "mcp.a.headers_env", "A must be the name"),
    ({"a": {"url": URL, "headers_env": {"a\nb": "SET"}}}, "mcp.a.headers_env", "must have printable names"),
    ({"a": {"transport": "stdio", "command": "x", "env": {"a\nb": "x"}}}, "mcp.a.env", "must have names of"),
    ({"a": {"url": URL, "headers": {"A": "x"}, "headers_env": {"A": "SET"}}}, "mcp.a.headers", "A is given twice"),
    ({"a": {"transport": "stdio", "command": "x", "args": [1]}}, "mcp.a.args", "list of strings"),
    ({"a": {"transport": "stdio", "command": "x", "env": {"A=": "x"}}}, "mcp.a.env", "name"),
    ({"a": {"transport": "stdio", "command": "x", "env": {"A": 1}}}, "mcp.a.env", "A must be a string"),
    ({"a": {"url": URL, "alow": "x"}}, "mcp.a.alow", "the nearest known name is allow"),
    ({"a": {"url": URL, "models": "("}}, "mcp.a.models", "must be a regular expression"),
    ({"max_tools": -1}, "mcp.max_tools", "at least 0"),
    ({"max_rounds": 0}, "mcp.max_rounds", "at least 1"),
    ({"max_round": 1}, "mcp.max_round", "the nearest known name is max_rounds"),
]


def read(table: dict[str, Any]) -> McpConfig:
    """The configuration of a file with that table ``[mcp]``, with the variable SET in the environment."""
    return read_mcp(ConfigSources({"mcp": table}, "aibridge.toml", {"SET": "Bearer hunter22"}))


class ReadingTests(SynchronousTestCase):
    """The tables ``[mcp]`` and ``[mcp.NAME]``."""

    def test_wrong(self) -> None:
        """A wrong setting's error names its key and the reason."""
        for table, key, reason in WRONG:
            error = self.assertRaises(ConfigError, read, table)
            self.assertIn(reason, error.why)
            self.assertEqual((error.source, error.key), ("aibridge.toml", key))
            self.assertNotIn("\n", str(error))

    def test_nothing(self) -> None:
        """Without a table there are no servers."""
        self.assertEqual(read_mcp(ConfigSources({}, "defaults")), McpConfig(max_rounds=25, servers={}))

    def test_all(self) -> None:
        """Every setting can be made in a file."""
        config = read(
            {"max_rounds": 3, "a": {"url": URL + "/", "allow": "^x$"}, "b-2": {"transport": "sse", "url": URL}}
        )
        self.assertEqual(config.max_rounds, 3)
        self.assertEqual(config.servers["a"], MCPServerSettings(name="a", url=URL + "/", allow="^x$"))
        self.assertEqual(config.servers["b-2"].transport, "sse")

    def test_secrets_elsewhere(self) -> None:
        """Headers and variables may come from the environment or from files, beside those that the file holds."""
        file = self.mktemp()
        Path(file).write_text("from a file\n")
        headers = {"headers": {"A": "plain"}, "headers_env": {"B": "SET"}, "headers_file": {"C": file}}
        server = read_mcp(
            ConfigSources({"mcp": {"a": {"url": URL} | headers}}, "aibridge.toml", {"SET": "from outside"})
        ).servers["a"]
        self.assertEqual(server.headers, {"A": "plain", "B": "from outside", "C": "from a file"})
        program = {"transport": "stdio", "command": "x", "env_env": {"KEY": "SET"}}
        self.assertEqual(read({"a": program}).servers["a"].env, {"KEY": "Bearer hunter22"})


class SecrecyTests(SynchronousTestCase):
    """Secrets, which are never shown."""

    def setUp(self) -> None:
        self.server = MCPServerSettings(
            name="a", url=URL + "?key=hunter23", headers={"Authorization": "Bearer hunter22"}
        )

    def test_repr(self) -> None:
        """No secret is in the settings' own form."""
        program = MCPServerSettings(name="a", transport="stdio", command="x", env={"KEY": "hunter24"})
        self.assertNotIn("hunter", repr(self.server) + repr(program) + self.server.address)
        self.assertEqual((self.server.address, program.address), (URL, "stdio:x"))

    def test_redact(self) -> None:
        """A text loses every secret, whole or in part, and nothing else."""
        said = self.server.redact("no 'Bearer hunter22', no hunter22, no ?key=hunter23 and no hunter23: 401")
        self.assertEqual(said, "no '…', no …, no ?… and no …: 401")

    def test_a_name(self) -> None:
        """A host program's settings are checked like those of a file."""
        self.assertRaises(InvalidSetting, MCPServerSettings, name="a_b", url=URL)
        self.assertRaises(InvalidSetting, MCPServerSettings, name="a")
