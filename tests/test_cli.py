"""The operator's command."""

import io
import os
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from aibridge.cli import main


class CommandTests(SynchronousTestCase):
    """The command as it is typed."""

    def setUp(self) -> None:
        self.patch(os, "environ", {})
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def run_command(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, output and errors."""
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        return main(arguments), out.getvalue(), err.getvalue()

    def file(self, content: str) -> str:
        """A configuration."""
        path = self.folder / "aibridge.toml"
        path.write_text(content)
        return str(path)

    def test_check(self) -> None:
        """It prints every setting as it takes effect, and no secret."""
        os.environ["MINE"] = "hunter2"
        file = self.file("""
            [database]
            url = "postgresql+psycopg://u:hunter2@h/db"
            [providers.mine]
            type = "openai"
            api_key_env = "MINE"
            extra_headers = { X-Team = "hunter2" }
            [providers.other]
            type = "anthropic"
        """)
        status, out, err = self.run_command("config", "check", "--config", file)
        self.assertEqual((status, err), (0, ""))
        self.assertNotIn("hunter2", out)
        for line in (
            'url = "postgresql+psycopg://u:***@h/db"',
            "[providers.mine]",
            "api_key = (set)",
            'extra_headers = {"X-Team" = (set)}',
            "api_key = (not set)",
            "drain_seconds = 30.0",
        ):
            self.assertIn(line, out.splitlines())

    def test_check_finds_an_error(self) -> None:
        """A wrong file is one line on stderr, and exit status 1."""
        file = self.file("[server]\nlisten = 1")
        status, out, err = self.run_command("config", "check", "--config", file)
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(err, f"{file}: server.listen: must be a string, not a whole number\n")

    def test_database(self) -> None:
        """Tables are made on demand, and their revision can be asked for before and after."""
        url = f"sqlite:///{self.folder}/x.sqlite"
        status, before, _ = self.run_command("db", "current", "--database", url)
        self.assertEqual((status, before), (0, f"{url}: no tables yet\n"))
        status, upgraded, _ = self.run_command("db", "upgrade", "--database", url)
        self.assertEqual((status, self.run_command("db", "current", "--database", url)[1]), (0, upgraded))
        self.assertNotEqual(upgraded, before)

    def test_database_out_of_reach(self) -> None:
        """A database that can't be opened is one line on stderr, and exit status 1."""
        status, out, err = self.run_command("db", "current", "--database", "sqlite:////nowhere/x.sqlite")
        self.assertEqual((status, out, err.count("\n")), (1, "", 1))
        self.assertIn("unable to open database file", err)
