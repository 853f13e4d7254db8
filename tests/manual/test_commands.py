"""Each command of the manual that is marked works, and prints what stands there."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import aibridge

from .pages import Command, commands, difference, steps

ROOT = Path(aibridge.__file__).parents[1]
PORTS = ("8080", "8081")
"""The ports that the manual's gateway has."""

PATIENCE = 60
"""Seconds."""


class PageTestCase(SynchronousTestCase):
    """A folder and an environment like those of a reader."""

    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        programs = self.home / "bin"
        programs.mkdir(parents=True)
        for name, module in (("aibridge", "aibridge"), ("twistd", "twisted")):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
            program.chmod(0o755)
        (self.home / ".curlrc").write_text("silent\nshow-error\n")  # no progress, as on a terminal with little to get
        self.ports: dict[str, str] = {}
        self.environment = {
            "HOME": str(self.home),
            "PATH": f"{programs}:{os.defpath}",
            "PYTHONPATH": str(ROOT),
            "LC_ALL": "C.UTF-8",
        }

    def run_line(self, line: str) -> str:
        """Run a command, which must succeed. Return what it prints."""
        for port, own in self.ports.items():
            line = line.replace(f"127.0.0.1:{port}", f"127.0.0.1:{own}")
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual(done.returncode, 0, f"{line}\n{done.stdout}")
        printed = done.stdout.replace("\r", "")
        for port, own in self.ports.items():
            printed = printed.replace(f"127.0.0.1:{own}", f"127.0.0.1:{port}")
        return printed

    def check(self, command: Command) -> None:
        """A command prints what the manual says."""
        printed = self.run_line(command.line)
        if command.expected:
            self.assertEqual(difference(command.expected, printed, str(self.home)), "", f"{command.line}\n{printed}")

    def start_demo(self) -> None:
        """Start the gateway, and wait until it has told its addresses."""
        self.ports = {port: str(free_port()) for port in PORTS}
        listeners = ("--listen", self.ports["8080"], "--admin-listen", self.ports["8081"])
        gateway = subprocess.Popen(
            [sys.executable, "-m", "aibridge", "run", "--demo", *listeners],
            cwd=self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert gateway.stdout is not None
        self.addCleanup(gateway.communicate, timeout=PATIENCE)
        self.addCleanup(gateway.send_signal, signal.SIGTERM)
        said = b""
        while b"Codex" not in said:
            line = gateway.stdout.readline()
            self.assertTrue(line, said)
            said += line

    def run_page(self, name: str) -> int:
        """Do all marked steps of a page. Return how many commands were run."""
        count = 0
        for step in steps(ROOT / "docs" / name):
            if step.kind == "demo":
                self.start_demo()
            elif step.kind == "file":
                (self.home / step.argument).write_text(step.block)
            elif step.kind == "setup":
                self.run_line(step.argument)
            else:
                for command in commands(step.block):
                    self.check(command)
                    count += 1
        return count


def free_port() -> int:
    """A port on which nothing listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


class PageTests(PageTestCase):
    """The pages that have marked commands."""

    def test_every_marked_page(self) -> None:
        """Each page with a mark has a test here."""
        tests = {name.removeprefix("test_").replace("_", "-") for name in dir(self)}
        marked = {path.stem for path in (ROOT / "docs").rglob("*.md") if [*steps(path)]}
        self.assertEqual(marked - tests, set())
        self.assertGreater(len(marked), 5)


def _page_test(page: str) -> object:
    def test(self: PageTests) -> None:
        self.assertGreater(self.run_page(page), 0)

    test.__doc__ = f"The commands of ``{page}``."
    return test


for _path in sorted((ROOT / "docs").rglob("*.md")):
    if [*steps(_path)]:
        _name = str(_path.relative_to(ROOT / "docs"))
        setattr(PageTests, f"test_{_path.stem.replace('-', '_')}", _page_test(_name))


class ComparisonTests(SynchronousTestCase):
    """The comparison of what is printed with what the manual says."""

    def test_differences(self) -> None:
        """Lines are compared, but for what differs from run to run; an ellipsis stands for anything."""
        for expected, printed, wrong in (
            (["a", "b"], "a\nb\n", ""),
            (["a", "b"], "a\n", "expected: b"),
            (["a"], "a\nb\n", "not expected: b"),
            (["a…c"], "abbc\n", ""),
            (["…", "c"], "a\nb\nc\n", ""),
            (["a", "…"], "a\nb\nc\n", ""),
            (["…", "d"], "a\nb\nc\n", "expected: d"),
            (["at 2026-01-31T12:00:00Z"], "at 2027-02-01T00:00:00Z\n", ""),
            (["01a22385-bde1-7595-ae5b-c4bcf0583bdb x"], "01a22386-0c15-7d74-aefc-caf36144a280 y\n", "expected"),
        ):
            self.assertTrue(difference(expected, printed, "/h").startswith(wrong), (expected, printed))
            self.assertEqual(bool(difference(expected, printed, "/h")), bool(wrong))

    def test_commands(self) -> None:
        """A command may go over several lines; output follows it; comments and empty lines are none."""
        block = "$ one \\\n    two\nthree\n$ four\n"
        self.assertEqual(commands(block), [Command("one \\\n    two", ["three"]), Command("four")])
        self.assertEqual(commands("# note\none\n\ntwo\n"), [Command("one"), Command("two")])


if not shutil.which("curl") or not shutil.which("sqlite3"):
    PageTests.skip = "the manual's commands need curl and sqlite3"  # type: ignore[attr-defined]
