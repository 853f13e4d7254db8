"""``aibridge setup``: the settings of client programs, printed and written."""

import json
import os
import tomllib
from pathlib import Path

from aibridge.commands.clients import CLIENTS

from .parts import CommandTestCase

GATEWAY = "http://127.0.0.1:8080"


class PrintTests(CommandTestCase):
    """Settings are printed, and nothing is written."""

    def test_every_client(self) -> None:
        """Each client's settings have a base URL of this gateway and say where a key goes; nothing is written."""
        for client, program in CLIENTS.items():
            status, out, err = self.run_command("setup", client)
            self.assertEqual((status, err), (0, ""), client)
            self.assertIn(f"{GATEWAY}/{program.types[0]}", out)
            self.assertIn("your own key for the provider goes into the ", out)
            self.assertNotIn("$", out)
        self.assertEqual([*self.home.iterdir()], [])

    def test_claude_code(self) -> None:
        """A line for the shell, and the settings file's content."""
        out = self.run_command("setup", "claude-code")[1].splitlines()
        self.assertEqual(out[1], f"export ANTHROPIC_BASE_URL={GATEWAY}/anthropic")
        self.assertEqual(out[2], f"# in {self.home}/.claude/settings.json, where --write puts it:")
        document = json.loads("\n".join(out[3:-1]))
        self.assertEqual(document, {"env": {"ANTHROPIC_BASE_URL": f"{GATEWAY}/anthropic"}})

    def test_configured_listener(self) -> None:
        """The base URL follows the configuration's listener, and the names of its providers."""
        config = self.write(
            "aibridge.toml",
            '[server]\nlisten = "tcp:9000"\n[auth]\nallow_anonymous = true\n[providers.local]\ntype = "openai"\n',
        )
        out = self.run_command("setup", "openai-sdk", "--config", str(config))[1]
        self.assertIn("export OPENAI_BASE_URL=http://127.0.0.1:9000/local/v1\n", out)

    def test_public_url(self) -> None:
        """``--url`` is the address that clients get; one that is none is refused."""
        out = self.run_command("setup", "codex", "--url", "https://ai.example/")[1]
        self.assertIn("codex -c openai_base_url=https://ai.example/openai/v1\n", out)
        self.assertEqual(self.assertRaises(SystemExit, self.run_command, "setup", "codex", "--url", "x").code, 2)
        for url in ("https://ai.example/openai/v1", "https://ai.example/anthropic/"):
            self.assertIn("--url: must be the gateway's own URL", self.run_command("setup", "codex", "--url", url)[2])

    def test_no_address(self) -> None:
        """The address of a socket in the file system is asked for."""
        config = self.write("aibridge.toml", '[server]\nlisten = "unix:/run/aibridge.sock"\n')
        status, out, err = self.run_command("setup", "codex", "--config", str(config))
        self.assertEqual((status, out), (1, ""))
        self.assertIn("--url: add it, such as --url https://", err)

    def test_no_such_provider(self) -> None:
        """A client whose type of provider is not configured can't be set up; nor can an unknown provider be used."""
        config = str(self.write("aibridge.toml", "[providers.openai]\n"))
        self.assertIn(
            "Claude Code needs a provider of type anthropic",
            self.run_command("setup", "claude-code", "--config", config)[2],
        )
        self.assertIn(
            "there is no provider x; the configuration has openai",
            self.run_command("setup", "codex", "--provider", "x", "--config", config)[2],
        )
        self.assertNotIn("anthropic", self.run_command("setup", "opencode", "--config", config)[1].split("#")[1])

    def test_chosen_provider(self) -> None:
        """Of several providers of a type the first is used, unless another one is named."""
        config = str(self.write("aibridge.toml", '[providers.openai]\n[providers.groq]\ntype = "openai"\n'))
        self.assertIn("/openai/v1", self.run_command("setup", "codex", "--config", config)[1])
        named = self.run_command("setup", "codex", "--provider", "groq", "--config", config)[1]
        self.assertIn(f"{GATEWAY}/groq/v1", named)

    def test_gateway_keys(self) -> None:
        """Where the gateway issues keys, the last line says where such a key goes."""
        config = str(self.write("aibridge.toml", '[auth]\nmode = "keys"\n'))
        last = self.run_command("setup", "claude-code", "--config", config)[1].splitlines()[-1]
        self.assertIn("`aibridge keys create --actor NAME` prints, in the variable ANTHROPIC_AUTH_TOKEN", last)

    def test_client_variables(self) -> None:
        """A client that is set up by variables already can be set up again: they don't count as the gateway's."""
        os.environ["ANTHROPIC_BASE_URL"] = f"{GATEWAY}/anthropic"
        self.assertEqual(self.run_command("setup", "claude-code")[0], 0)


class WriteTests(CommandTestCase):
    """``--write`` merges the settings into the client's own file."""

    def backups(self, path: Path) -> list[str]:
        """The content of all backups of a file."""
        return [backup.read_text() for backup in path.parent.glob(f"{path.name}.*.bak")]

    def test_new_files(self) -> None:
        """A file that is missing is made, readable by its owner alone, without a backup."""
        for client, name in (
            ("claude-code", ".claude/settings.json"),
            ("codex", ".codex/config.toml"),
            ("opencode", ".config/opencode/opencode.json"),
        ):
            status, out, err = self.run_command("setup", client, "--write")
            path = self.home / name
            self.assertEqual((status, out.splitlines()[0], err), (0, f"{path} is written", ""))
            self.assertEqual((path.stat().st_mode & 0o777, self.backups(path)), (0o600, []))

    def test_json_is_merged(self) -> None:
        """All other settings stay, the file keeps its mode, and a copy of it as it was is beside it."""
        old = '{"theme": "dark", "env": {"A": "ü", "ANTHROPIC_BASE_URL": "http://old"}}'
        path = self.write(".claude/settings.json", old)
        path.chmod(0o640)
        self.assertEqual(self.run_command("setup", "claude-code", "--write")[0], 0)
        env = {"A": "ü", "ANTHROPIC_BASE_URL": f"{GATEWAY}/anthropic"}
        self.assertEqual(json.loads(path.read_text()), {"theme": "dark", "env": env})
        self.assertEqual((path.stat().st_mode & 0o777, self.backups(path)), (0o640, [old]))

    def test_toml_is_merged(self) -> None:
        """Comments and tables stay; the setting is put at the top, or in place of an old one."""
        for old in (
            "# mine\n[features]\nx = 1 # y\n",
            '# mine\nopenai_base_url = "http://old" # z\n[features]\nx = 1\n',
        ):
            path = self.write(".codex/config.toml", old)
            self.assertEqual(self.run_command("setup", "codex", "--write")[0], 0)
            new = path.read_text()
            self.assertEqual(tomllib.loads(new), {"openai_base_url": f"{GATEWAY}/openai/v1", "features": {"x": 1}})
            self.assertIn("# mine\n", new)

    def test_again(self) -> None:
        """A file that has the settings is not written again."""
        for client in ("claude-code", "codex", "opencode"):
            self.run_command("setup", client, "--write")
            self.assertIn("has these settings already", self.run_command("setup", client, "--write")[1])

    def test_unreadable(self) -> None:
        """A file that can't be parsed, or has another kind of value, is left alone, with one line that says so."""
        for client, name, content in (
            ("claude-code", ".claude/settings.json", "{ // mine\n}"),
            ("claude-code", ".claude/settings.json", "[]"),
            ("claude-code", ".claude/settings.json", '{"env": 1}'),
            ("codex", ".codex/config.toml", "x = "),
            ("codex", ".codex/config.toml", 'openai_base_url = """\nhttp://old"""\n'),
            ("opencode", ".config/opencode/opencode.jsonc", "// mine\n{}"),
        ):
            path = self.write(name, content)
            status, out, err = self.run_command("setup", client, "--write")
            self.assertEqual((status, out, err.count("\n")), (1, "", 1), content)
            self.assertTrue(err.startswith(f"{path} is left as it is: it can't be read as "), err)
            self.assertEqual((path.read_text(), self.backups(path)), (content, []))

    def test_link(self) -> None:
        """A link stays a link; the file that it leads to is written, with the backup beside it."""
        real = self.write("dotfiles/settings.json", "{}")
        link = self.home / ".claude" / "settings.json"
        link.parent.mkdir()
        link.symlink_to(real)
        self.assertEqual(self.run_command("setup", "claude-code", "--write")[0], 0)
        self.assertTrue(link.is_symlink())
        self.assertIn("ANTHROPIC_BASE_URL", real.read_text())
        self.assertEqual(self.backups(real), ["{}"])

    def test_folders_of_clients(self) -> None:
        """The clients' own variables for their folders are honoured."""
        os.environ |= {"CODEX_HOME": str(self.home / "codex"), "CLAUDE_CONFIG_DIR": str(self.home / "claude")}
        self.run_command("setup", "codex", "--write")
        self.run_command("setup", "claude-code", "--write")
        self.assertTrue((self.home / "codex" / "config.toml").exists())
        self.assertTrue((self.home / "claude" / "settings.json").exists())

    def test_no_file(self) -> None:
        """A client without a settings file can't be written, and the message says what to do."""
        status, _, err = self.run_command("setup", "openai-sdk", "--write")
        self.assertEqual(status, 1)
        self.assertIn("the OpenAI SDK has no settings file; leave --write away", err)
