"""The parser of the command line: what it loads, what it names, and the examples in its help."""

import inspect
import shlex
import subprocess
import sys
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import aibridge
from aibridge.cli import find_function
from aibridge.commands.parser import make_parser

from .parts import CommandTestCase

HEAVY = (
    "twisted",
    "treq",
    "sqlalchemy",
    "alembic",
    "orjson",
    "prometheus_client",
    "jwt",
    "mcp",
    "shtab",
    "genai_prices",
)


def commands(parser: ArgumentParser) -> Iterator[ArgumentParser]:
    """The commands of a parser, however deep they are."""
    below = [action for action in parser._actions if isinstance(action, _SubParsersAction)]
    for action in below:
        for each in action.choices.values():
            yield from commands(each)
    if not below and parser.get_default("run"):
        yield parser


def examples(parser: ArgumentParser) -> list[str]:
    """The examples in the help of a command."""
    return [line.strip() for line in (parser.epilog or "").splitlines()[1:]]


class ParserTests(SynchronousTestCase):
    """The commands as the parser knows them."""

    def test_functions(self) -> None:
        """Each command has a function, which takes what the command line gives it."""
        found = [*commands(make_parser())]
        self.assertGreater(len(found), 10)
        for command in found:
            _, *parameters = inspect.signature(find_function(command.get_default("run"))).parameters
            given = {action.dest for action in command._actions} - {"help", "config", "database"}
            self.assertEqual({*parameters}, given, command.prog)
            self.assertTrue(callable(find_function(command.get_default("load"))))

    def test_examples(self) -> None:
        """Each command has an example in its help, and can be called in that way."""
        parser = make_parser()
        for command in commands(parser):
            lines = examples(command)
            self.assertNotEqual(lines, [], command.prog)
            for line in lines:
                self.assertIn(command.prog, line)
                words = shlex.split(line.removeprefix('eval "$(').removesuffix(')"'))
                arguments = words[1 : words.index(">")] if ">" in words else words[1:]
                parser.parse_args(arguments)

    def test_help_loads_little(self) -> None:
        """Help comes quickly: no library is loaded that only a command needs."""
        script = (
            "import sys; from aibridge.cli import main\n"
            "try: main(['--help'])\n"
            f"finally: print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
        )
        environment = {"PYTHONPATH": str(Path(aibridge.__file__).parent.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60
        )
        self.assertEqual((done.returncode, done.stderr), (0, "[]\n"))
        self.assertIn("aibridge run --demo", done.stdout)


class HelpTests(CommandTestCase):
    """Help for those who know nothing yet."""

    def test_no_arguments(self) -> None:
        """The command alone shows its help."""
        status, out, err = self.run_command()
        self.assertEqual((status, out), (2, ""))
        self.assertIn("aibridge run --demo", err)


class CompletionTests(CommandTestCase):
    """The scripts for shells."""

    def test_scripts(self) -> None:
        """There is one for each of three shells, and it knows every area."""
        for shell in ("bash", "zsh", "fish"):
            status, out, err = self.run_command("completion", shell)
            self.assertEqual((status, err), (0, ""))
            for area in ("doctor", "keys", "export", "revoke"):
                self.assertIn(area, out)

    def test_bash(self) -> None:
        """Bash completes commands and options with it."""
        script = self.write("completion", self.run_command("completion", "bash")[1])
        line = (
            f"source {script}; COMP_WORDS=(aibridge keys crea); COMP_CWORD=2; _shtab_aibridge; "
            "echo ${COMPREPLY[@]}; COMP_WORDS=(aibridge export --form); COMP_CWORD=2; _shtab_aibridge; "
            "echo ${COMPREPLY[@]}; COMP_WORDS=(aibridge run --adm); COMP_CWORD=2; _shtab_aibridge; "
            "echo ${COMPREPLY[@]}"
        )
        done = subprocess.run(["bash", "--norc", "-c", line], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.stdout.split(), ["create", "--format", "--admin-listen"], done.stderr)
