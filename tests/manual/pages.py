"""Blocks of the manual that are marked, in HTML comments that readers do not see.

``<!-- run -->``
    The commands of the next block are run, and what they print is compared with what stands there. A command without
    any output there may print what it likes. "…" stands for anything, and alone on a line for any lines.
``<!-- file: NAME -->``
    The next block is the content of that file.
``<!-- setup: COMMAND -->``
    The command is run, and its output is not looked at.
``<!-- demo -->``
    A gateway with the demo runs from here on, in the place of the one at ports 8080 and 8081.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from attrs import Factory, define, frozen

_MARK = re.compile(r"<!-- (run|file|setup|demo)(?:: (.*?))? -->")
# Whatever differs from run to run, each with its name.
_VARYING = (
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?"), "<time>"),
    (re.compile(r"\bmsg_[0-9a-f]+"), "<id>"),
    (re.compile(r"\b\d+ (interceptions|rows|keys|refused|turns)"), r"<number> \1"),
    (re.compile(r": \d{4}$"), ": <revision>"),
    (re.compile(r"/home/\w+/"), "<home>/"),
)


@define
class Command:
    """A command, and what the manual says that it prints; nothing if it says nothing."""

    line: str
    expected: list[str] = Factory(list)


@frozen
class Step:
    """Something to do for a page."""

    kind: str
    """``run``, ``file``, ``setup`` or ``demo``."""
    argument: str
    """The name of the file, or the command of a setup."""
    block: str
    """The content of the next block."""


def steps(page: Path) -> Iterator[Step]:
    """Yield the marked steps of a page, in their order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if mark := _MARK.fullmatch(line):
            yield Step(mark[1], mark[2] or "", _next_block(lines[number + 1 :]) if mark[1] in ("run", "file") else "")


def _next_block(lines: list[str]) -> str:
    start = next(number for number, line in enumerate(lines) if line.startswith("```"))
    end = next(number for number, line in enumerate(lines[start + 1 :], start + 1) if line == "```")
    return "\n".join(lines[start + 1 : end]) + "\n"


def commands(block: str) -> list[Command]:
    """Return the commands of a block, each with the lines that follow it. Without prompts each line is a command."""
    found: list[Command] = []
    has_prompts = block.startswith("$ ")
    for line in block.splitlines():
        if found and found[-1].line.endswith("\\") and not found[-1].expected:
            found[-1].line += f"\n{line}"
        elif line.startswith("$ ") or not has_prompts:
            found.append(Command(line.removeprefix("$ ")))
        else:
            found[-1].expected.append(line)
    return [command for command in found if command.line.strip() and not command.line.startswith("#")]


def difference(expected: list[str], printed: str, home: str) -> str:
    """Return the first line that is not as expected, with what is there in its place; empty if all is."""
    lines = [_constant(line.replace(home, "/home/alice")) for line in printed.rstrip().splitlines()]
    wanted = [_constant(line) for line in expected]
    at = 0
    for number, line in enumerate(wanted):
        if line == "…":
            rest = wanted[number + 1 :]
            while rest and at < len(lines) and not _matches(rest[0], lines[at]):
                at += 1
            at = at if rest else len(lines)
        elif at < len(lines) and _matches(line, lines[at]):
            at += 1
        else:
            return f"expected: {line}\nprinted:  {lines[at] if at < len(lines) else '(nothing more)'}"
    return f"not expected: {lines[at]}" if at < len(lines) else ""


def _constant(line: str) -> str:
    for pattern, name in _VARYING:
        line = pattern.sub(name, line.rstrip())
    return line


def _matches(expected: str, line: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, expected.split("…"))), line) is not None
