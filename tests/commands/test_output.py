"""The output of commands."""

import io
import os
import sys

from twisted.trial.unittest import SynchronousTestCase

from aibridge.commands.output import Progress, paint


class ProgressTests(SynchronousTestCase):
    """Progress of something that takes long."""

    def report(self, is_terminal: bool) -> str:
        """The report of an hour's work, a step a second."""
        stream = io.StringIO()
        self.patch(stream, "isatty", lambda: is_terminal)
        self.patch(sys, "stderr", stream)
        seconds = iter(range(10_000))
        with Progress("rows moved", 40, now=lambda: next(seconds)) as progress:
            for _ in range(20):
                progress.advance(2)
        return stream.getvalue()

    def test_terminal(self) -> None:
        """On a terminal a bar is written over, and is gone at the end."""
        report = self.report(True)
        self.assertIn(f"\r\x1b[K[{'#' * 15}{' ' * 15}]   50 %  20 of 40 rows moved\r", report)
        self.assertNotIn("\n", report)
        self.assertTrue(report.endswith("\r\x1b[K"))

    def test_elsewhere(self) -> None:
        """Elsewhere there is a line now and then, without control characters."""
        lines = self.report(False).splitlines()
        self.assertTrue(1 <= len(lines) <= 4, lines)
        self.assertRegex(lines[0], r"^ \d\d %  \d+ of 40 rows moved$")

    def test_unknown_total(self) -> None:
        """Where the end is not known, the number alone is told."""
        stream = io.StringIO()
        self.patch(sys, "stderr", stream)
        seconds = iter(range(0, 1000, 20))
        Progress("rows moved", 0, now=lambda: next(seconds)).advance(3)
        self.assertEqual(stream.getvalue(), "3 rows moved\n")


class ColourTests(SynchronousTestCase):
    """Colours of words."""

    def test_terminal(self) -> None:
        """Words are coloured on a terminal that shows colours, unless NO_COLOR is set, and nowhere else."""
        for is_terminal, environment, expected in (
            (True, {}, "\x1b[31mbroken\x1b[0m"),
            (True, {"NO_COLOR": "1"}, "broken"),
            (True, {"NO_COLOR": ""}, "\x1b[31mbroken\x1b[0m"),
            (True, {"TERM": "dumb"}, "broken"),
            (False, {}, "broken"),
        ):
            stream = io.StringIO()
            self.patch(stream, "isatty", lambda is_terminal=is_terminal: is_terminal)
            self.patch(sys, "stdout", stream)
            self.patch(os, "environ", environment)
            self.assertEqual(paint("broken", 31), expected)
