"""The manual's table of defences names tests that there are."""

import re
from pathlib import Path

from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase, TestCase

import aibridge

PAGE = Path(aibridge.__file__).parents[1] / "docs" / "security.md"


class DefenceTests(SynchronousTestCase):
    """Its last column."""

    def test_all_exist(self) -> None:
        """Each line names one test at least, by a module or a class of them."""
        lines = PAGE.read_text(encoding="utf-8").partition("## What is defended")[2].partition("## What is not")[0]
        table = [line for line in lines.splitlines() if line.startswith("| ")][2:]
        for line in table:
            names = re.findall(r"`(tests[.\w]+)`", line.split(" | ")[-1])
            self.assertTrue(names, line)
            for name in names:
                found = namedAny(name)
                cases = [found] if isinstance(found, type) else [*vars(found).values()]
                tests = [
                    case
                    for case in cases
                    if isinstance(case, type) and issubclass(case, (SynchronousTestCase, TestCase))
                ]
                self.assertTrue(any(each.startswith("test") for case in tests for each in dir(case)), name)
