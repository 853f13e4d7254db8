"""The operator's command, ``aibridge``, on the same configuration as the gateway."""

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import AttrsInstance, fields

from .announcement import shown_url
from .config import Config, load_config
from .errors import AIBridgeError
from .record import migrations
from .settings import SECRET


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit status is 1, after one line on stderr, where it could not be done."""
    options = _parser().parse_args(arguments)
    try:
        for line in options.command(_config(options)):
            sys.stdout.write(f"{line}\n")
    except AIBridgeError as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 1
    return 0


def check(config: Config) -> Iterator[str]:
    """The configuration as it takes effect, without its secrets."""
    for section in ("server", "database", "record", "auth"):
        yield from _table(section, getattr(config, section))
    for name, provider in config.providers.items():
        yield from _table(f"providers.{name}", provider)


def upgrade(config: Config) -> Iterator[str]:
    """Brings the database's tables to this version's form."""
    migrations.upgrade(config.database.url)
    yield from current(config)


def current(config: Config) -> Iterator[str]:
    """The revision that the database's tables have."""
    yield f"{shown_url(config.database.url)}: {migrations.current(config.database.url) or 'no tables yet'}"


def _parser() -> ArgumentParser:
    shared = ArgumentParser(add_help=False)
    shared.add_argument("--config", metavar="FILE", help="TOML file with the configuration")
    shared.add_argument("--database", metavar="URL", help="SQLAlchemy URL of the records")
    parser = ArgumentParser(prog="aibridge", description="The operator's tool of the aibridge gateway.")
    areas = parser.add_subparsers(required=True, metavar="AREA")
    for area, title, commands in (
        ("config", "the configuration", {"check": check}),
        ("db", "the database", {"upgrade": upgrade, "current": current}),
    ):
        actions = areas.add_parser(area, help=title).add_subparsers(required=True, metavar="COMMAND")
        for name, command in commands.items():
            actions.add_parser(name, parents=[shared], help=command.__doc__).set_defaults(command=command)
    return parser


def _config(options: Namespace) -> Config:
    given = {"--database": (("database", "url"), options.database)} if options.database is not None else {}
    return load_config(options.config, os.environ, given)


def _table(title: str, values: AttrsInstance) -> Iterator[str]:
    yield f"[{title}]"
    for key in fields(type(values)):
        if key.name != "name":
            yield f"{key.name} = {_shown(key.name, getattr(values, key.name), key.metadata)}"
    yield ""


def _shown(name: str, value: Any, metadata: Mapping[str, Any]) -> str:
    if name == "url":
        return json.dumps(shown_url(value))
    if not metadata.get(SECRET):
        return json.dumps(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(header)} = (set)" for header in value) + "}"
    return "(set)" if value else "(not set)"
