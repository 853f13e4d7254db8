"""``aibridge tools list`` where there is little to list."""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

COMMAND = [sys.executable, "-c", "import sys; from aibridge.cli import main; sys.exit(main())", "tools", "list"]


class ListTests(SynchronousTestCase):
    """The command in a process of its own: it runs the reactor."""

    def run_command(self, configuration: str) -> tuple[int, str, str]:
        """Exit status, output and errors."""
        path = Path(self.mktemp())
        path.write_text(configuration)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(
            [*COMMAND, "--config", str(path)], capture_output=True, text=True, env=environment, timeout=60
        )
        return done.returncode, done.stdout, done.stderr

    def test_all_down(self) -> None:
        """If no server can be reached the command fails, after it has said why of each; programs are named."""
        status, out, err = self.run_command(
            "[mcp.gone]\nurl = 'http://127.0.0.1:1/mcp'\n[mcp.files]\ntransport = 'stdio'\ncommand = '/nowhere/files'"
        )
        self.assertEqual((status, err), (1, "no MCP server could be reached\n"))
        self.assertIn("files  stdio  stdio:/nowhere/files  ", out)
        self.assertEqual(out.count("last error: "), 2, out)

    def test_none(self) -> None:
        """Without a server it says so."""
        self.assertEqual(self.run_command(""), (0, "no MCP server is configured: see [mcp.NAME] in the manual\n", ""))
