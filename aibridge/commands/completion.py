"""``aibridge completion``: the scripts with which shells complete the command."""

from argparse import ArgumentParser
from collections.abc import Iterator

import shtab

from .parser import make_parser


def read_parser(*_: object) -> ArgumentParser:
    """Return the parser of the command line, which this command needs in place of a configuration."""
    return make_parser()


def print_completion(parser: ArgumentParser, shell: str) -> Iterator[str]:
    """Print the script for bash, zsh or fish."""
    yield shtab.complete(parser, shell)
