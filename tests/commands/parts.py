"""What the tests of commands share."""

import io
import os
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from aibridge.cli import main


class CommandTestCase(SynchronousTestCase):
    """Commands as they are typed, in an empty environment, with a home folder of their own."""

    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        self.home.mkdir()
        self.patch(os, "environ", {"HOME": str(self.home)})

    def run_command(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, output and errors."""
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        return main(arguments), out.getvalue(), err.getvalue()

    def write(self, name: str, content: str) -> Path:
        """A file below the home folder."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path
