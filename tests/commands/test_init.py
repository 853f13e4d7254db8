"""``aibridge init``: a configuration file to begin with."""

import os
from pathlib import Path

from aibridge.config.loader import load_config

from .parts import CommandTestCase


class InitTests(CommandTestCase):
    """The file, and the words about it."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.home / "aibridge.toml"

    def init(self, *arguments: str) -> tuple[int, str, str]:
        """The command, for a file in the home folder."""
        return self.run_command("init", "--config", str(self.path), *arguments)

    def test_file(self) -> None:
        """The file is its owner's alone, is usable as it is, and has the same effect as no file."""
        status, out, err = self.init()
        self.assertEqual((status, err, self.path.stat().st_mode & 0o777), (0, "", 0o600))
        self.assertEqual(load_config(str(self.path), {}), load_config(None, {}))
        self.assertEqual(self.run_command("config", "check", "--config", str(self.path))[0], 0)
        for command in ("doctor", "run", "setup claude-code"):
            self.assertIn(f"aibridge {command} --config {self.path}", out)

    def test_examples(self) -> None:
        """The settings in comments are usable too."""
        os.environ |= {"DATABASE_URL": "sqlite:///x", "WIKI_TOKEN": "t"}
        self.init()
        content = self.path.read_text()
        for key in ("requests_per_minute", "concurrent", "[mcp.wiki]", "[providers.local]", "[providers.aws]"):
            self.assertIn(f"# {key}", content)
        examples = (
            "requests_per",
            "concurrent",
            "[mcp",
            'url = "https://wiki',
            "headers_env",
            "[providers",
            "type =",
            "region =",
            "models =",
            'base_url = "http://127',
        )
        lines = [
            line[2:] if line.startswith("# ") and line[2:].startswith(examples) else line
            for line in content.splitlines()
        ]
        self.path.write_text("\n".join(lines))
        config = load_config(str(self.path), os.environ)
        self.assertEqual((config.limits.concurrent, [*config.mcp.servers]), (10, ["wiki"]))
        self.assertEqual([*config.providers], ["anthropic", "openai", "local", "aws"])

    def test_overwrites_nothing(self) -> None:
        """A file that exists stays as it is, unless ``--force`` is given."""
        self.path.write_text("mine")
        self.path.chmod(0o644)
        status, out, err = self.init()
        self.assertEqual((status, out, self.path.read_text()), (1, "", "mine"))
        self.assertEqual(err, f"command line: --config: {self.path} exists; --force replaces it\n")
        self.assertEqual(self.init("--force")[0], 0)
        self.assertIn("[server]", self.path.read_text())
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_default_name(self) -> None:
        """Without a name it is ``aibridge.toml`` in this folder, or what the variable names."""
        before = Path.cwd()
        os.chdir(self.home)
        self.addCleanup(os.chdir, before)
        self.assertIn("aibridge run --config aibridge.toml ", self.run_command("init")[1])
        self.assertTrue(self.path.exists())
        os.environ["AIBRIDGE_CONFIG"] = str(self.home / "other.toml")
        self.assertIn("  aibridge run  ", self.run_command("init")[1])
        self.assertTrue((self.home / "other.toml").exists())

    def test_database(self) -> None:
        """The URL of ``--database`` goes into the file; one that can't be used is refused, and nothing is written."""
        self.assertEqual(self.init("--database", "mysql://x")[0], 1)
        self.assertFalse(self.path.exists())
        url = "postgresql+psycopg://aibridge@db/aibridge"
        self.init("--database", url)
        self.assertEqual(load_config(str(self.path), {}).database.url, url)

    def test_no_such_folder(self) -> None:
        """A file that can't be written is one line on standard error."""
        for arguments in ((), ("--force",)):
            status, _, err = self.run_command("init", "--config", str(self.home / "none" / "x.toml"), *arguments)
            self.assertEqual((status, err.count("\n")), (1, 1))
            self.assertIn("can't be written: No such file or directory", err)
