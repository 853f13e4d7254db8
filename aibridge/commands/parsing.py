"""The pieces of the command line's parser: areas, and commands with the options that all have."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Areas = _SubParsersAction[ArgumentParser]


def add_area(areas: "Areas", name: str, title: str) -> "Areas":
    """Add an area of commands. ``aibridge NAME --help`` lists them."""
    return areas.add_parser(name, help=title, description=title).add_subparsers(required=True, metavar="COMMAND")


def add_command(
    parent: "Areas",
    name: str,
    run: str,
    title: str,
    *examples: str,
    load: str = ".config.loader:load_config",
    uses_database: bool = False,
    is_data: bool = False,
    reads_config: bool = True,
) -> ArgumentParser:
    """Add a command, with the options of all commands that read a configuration."""
    command = parent.add_parser(
        name,
        help=title,
        description=title,
        epilog=format_examples(*examples),
        formatter_class=RawDescriptionHelpFormatter,
    )
    command.set_defaults(config=None, database=None)
    if reads_config:
        command.add_argument("--config", metavar="FILE", help="TOML file with the configuration")
        command.add_argument("--database", metavar="URL", help="SQLAlchemy URL of the records")
    command.set_defaults(run=run, load=load, uses_database=uses_database, is_data=is_data)
    return command


def format_examples(*lines: str) -> str:
    """Return the end of a help text, with these command lines."""
    return "\n".join(["examples:", *(f"  {line}" for line in lines)])
