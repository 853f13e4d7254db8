"""The output of commands."""

import io
import sys

from twisted.trial.unittest import SynchronousTestCase

from aibridge.commands.output import Progress


class ProgressTests(SynchronousTestCase):
    """Progress of something that takes long."""

    def report(self, is_terminal: bool) -> str:
        """The report of an hour's work, a step a second."""
        stream = io.StringIO()
        self.patch(stream, "isatty", lambda: is_terminal)
        self.patch(sys, "stderr", stream)
        seconds = iter(range(10_000))
        progress = Progress("rows moved", 40, now=lambda: next(seconds))
        for _ in range(20):
            progress.advance(2)
        progress.end()
        return stream.getvalue()

    def test_terminal(self) -> None:
        """On a terminal a line is written over, and is gone at the end."""
        report = self.report(True)
        self.assertIn("\r\x1b[K 50 %  20 of 40 rows moved\r", report)
        self.assertNotIn("\n", report)
        self.assertTrue(report.endswith("\r\x1b[K"))

    def test_elsewhere(self) -> None:
        """Elsewhere there is a line now and then, without control characters."""
        lines = self.report(False).splitlines()
        self.assertTrue(1 <= len(lines) <= 4, lines)
        self.assertRegex(lines[0], r"^ \d\d %  \d+ of 40 rows moved$")
