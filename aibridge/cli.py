"""The operator's command ``aibridge``. It reads the same configuration as the gateway."""

import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from io import TextIOWrapper
from pathlib import Path
from signal import SIGPIPE
from typing import Any, TypeVar
from uuid import UUID

from attrs import AttrsInstance, asdict, evolve, fields, has

from . import __version__
from .commands import db
from .commands.cost import show_cost
from .commands.first_run import add_first_run_commands
from .commands.gateway_keys import create_key, list_keys, revoke_key
from .commands.mcp_tools import list_tools
from .commands.output import write_note
from .config.checks import config_warnings
from .config.environment import CONFIG_VARIABLE
from .config.model import DEFAULT_DATABASE, Config, load_config
from .errors import AIBridgeError, ConfigError
from .identity.keys import actor_name, duration, item
from .record.database import printable
from .record.export import FORMATS
from .record.urls import parse_url
from .settings import SECRET

T = TypeVar("T")

_ON_DATABASE = (
    *(db.upgrade_database, db.show_revision, db.show_spool, db.purge_records, db.export_records),
    *(create_key, list_keys, revoke_key),
)
"""The commands that use the database."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Return its exit status: 1, after one line on standard error, if it failed."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["run"]:
        return run_gateway(arguments[1:])
    options = vars(make_parser().parse_args(arguments))
    run, config_file, database = options.pop("run"), options.pop("config"), options.pop("database")
    if isinstance(sys.stdout, TextIOWrapper):
        # An ASCII-only locale has no form for most names. An export is UTF-8 everywhere.
        if run is db.export_records:
            sys.stdout.reconfigure(encoding="utf-8")
        else:
            sys.stdout.reconfigure(errors="backslashreplace")
    overrides = {"--database": (("database", "url"), database)} if database is not None else {}
    try:
        load = options.pop("load", load_config)
        config = load(config_file, os.environ, overrides)
        if run in _ON_DATABASE and not (config_file or database or os.environ.get(CONFIG_VARIABLE)):
            use_default_database(config)
        for line in run(config, **options):
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except AIBridgeError as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 1
    except BrokenPipeError:
        # The reader of the output, such as `head`, has enough. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + SIGPIPE
    return 0


def run_gateway(arguments: Sequence[str]) -> int:
    """Run the gateway in the foreground: ``aibridge run …`` is ``twistd -n aibridge …``, in the same runner."""
    from twisted.scripts import twistd

    sys.argv = ["aibridge", "--nodaemon", "aibridge", *arguments]
    twistd.run()
    return 0


def use_default_database(config: Config) -> None:
    """Say which database a command uses that was given none. Raise ConfigError if there is none in this folder."""
    if config.database.url != DEFAULT_DATABASE:
        return  # the environment has it
    path = Path(parse_url(DEFAULT_DATABASE).database or "").absolute()
    if not path.exists():
        raise ConfigError("command line", "", f"there is no {path}: give --config FILE or --database URL")
    write_note(f"database: {path}, since neither --config nor --database was given")


def make_parser() -> ArgumentParser:
    """Return the parser of the command line. Each command sets ``run``, and the arguments to call it with."""
    parser = ArgumentParser(prog="aibridge", description="The operator's tool of the aibridge gateway.")
    parser.add_argument("--version", action="version", version=f"aibridge {__version__}")
    areas = parser.add_subparsers(required=True, metavar="AREA")
    areas.add_parser("run", help="run the gateway; aibridge run --help has its options")

    add_first_run_commands(areas, _add)

    def area(name: str, title: str) -> Any:
        return areas.add_parser(name, help=title).add_subparsers(required=True, metavar="COMMAND")

    _add(area("config", "the configuration"), "check", check_config)

    database = area("db", "the database")
    _add(database, "upgrade", db.upgrade_database)
    _add(database, "current", db.show_revision)
    _add(database, "spool", db.show_spool).add_argument(
        "--flush", action="store_true", help="move the rows that ended processes have left into the database"
    )
    purge = _add(database, "purge", db.purge_records)
    purge.add_argument(
        "--before", metavar="DATE", required=True, type=typed(parse_date), help="such as 2026-01-31; in UTC"
    )
    purge.add_argument("--dry-run", action="store_true", help="say how many, and delete nothing")
    purge.add_argument("--yes", action="store_true", help="do not ask on a terminal")

    _add_key_commands(area("keys", "the gateway's own keys"))
    _add(area("tools", "the tools of MCP servers"), "list", list_tools)

    show = _add(area("cost", "prices of models"), "show", show_cost)
    show.add_argument("model", metavar="MODEL", help="as answers name it, such as claude-opus-5-5")
    show.add_argument("--provider", metavar="NAME", help="only this configured provider; default: all")

    export = _add(areas, "export", db.export_records)
    date_help = "such as 2026-01-31, or 2026-01-31T12:00; in UTC"
    export.add_argument("--since", metavar="DATE", type=typed(parse_date), help=date_help)
    export.add_argument(
        "--until", metavar="DATE", type=typed(parse_date), help="end of the span, itself excluded; default: now"
    )
    export.add_argument("--actor", help="only this actor's interceptions; default: everyone's")
    export.add_argument(
        "--format", dest="form", choices=FORMATS, default="jsonl", help="only jsonl has all of each row"
    )
    export.add_argument("--output", metavar="FILE", help="only its owner may read it; default: standard output")
    export.add_argument("--force", action="store_true", help="write over a file that exists")
    return parser


def _add_key_commands(keys: Any) -> None:
    create = _add(keys, "create", create_key)
    create.add_argument("--actor", required=True, type=typed(actor_name), help="the key's owner")
    create.add_argument(
        "--meta", metavar="NAME=VALUE", action="append", default=[], type=typed(item), help="metadata of the owner"
    )
    create.add_argument(
        "--expires", metavar="TIME", type=typed(duration), help="lifetime of the key, such as 90d or 12h"
    )
    _add(keys, "list", list_keys)
    _add(keys, "revoke", revoke_key).add_argument(
        "key_id", metavar="ID", type=typed(parse_id), help="as the list shows it"
    )


def _add(parent: Any, name: str, run: Callable[..., Iterator[str]]) -> ArgumentParser:
    """Add a command, with the options that all commands have."""
    command: ArgumentParser = parent.add_parser(name, help=run.__doc__, description=run.__doc__)
    command.add_argument("--config", metavar="FILE", help="TOML file with the configuration")
    command.add_argument("--database", metavar="URL", help="SQLAlchemy URL of the records")
    command.set_defaults(run=run)
    return command


def check_config(config: Config) -> Iterator[str]:
    """Show the configuration as it takes effect, without its secrets."""
    for section in ("server", "database"):
        yield from _table(section, getattr(config, section))
    yield from _table("record", config.record, retention_days=config.database.retention_days)
    for section in ("auth", "limits"):
        yield from _table(section, getattr(config, section))
    for name, provider in config.providers.items():
        yield from _table(f"providers.{name}", provider, type=provider.type)
    yield from _table("prices", config.prices)
    for pattern, own in config.prices.models.items():
        yield from _table(f"prices.models.{json.dumps(pattern)}", own)
    yield from _table("mcp", config.mcp)
    for name, server in config.mcp.servers.items():
        yield from _table(f"mcp.{name}", evolve(server, url=server.url and server.address))
    warnings = config_warnings(config)
    yield from (f"# warning: {warning}" for warning in warnings)
    count = {0: "without a warning", 1: "with one warning"}.get(len(warnings), f"with {len(warnings)} warnings")
    yield f"# The gateway can start with this configuration, {count}."


def typed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return a type of arguments whose errors are shown in the words of `parse`."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise ArgumentTypeError(f"{text!r}: {error}") from error

    return convert


def parse_id(text: str) -> UUID:
    """Parse the id of a key."""
    try:
        return UUID(text)
    except ValueError as error:
        raise ValueError("must be an id, as aibridge keys list shows it") from error


def parse_date(text: str) -> datetime:
    """Parse a date or a time in ISO 8601, in UTC if it has no time zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("must be a date such as 2026-01-31, or a time such as 2026-01-31T12:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _table(title: str, values: AttrsInstance, **further: Any) -> Iterator[str]:
    """Show one section of the configuration, as in its file; its tables have sections of their own."""
    yield f"[{title}]"
    yield from (f"{key} = {json.dumps(value)}" for key, value in further.items())
    for key in fields(type(values)):
        is_table = key.name == "servers" or (title == "prices" and key.name == "models")
        if key.name not in ("name", "retention_days") and not is_table:
            yield f"{key.name.rstrip('_')} = {_show(key.name, getattr(values, key.name), key.metadata)}"
    yield ""


def _show(name: str, value: Any, metadata: Mapping[str, Any]) -> str:
    """Show a setting's value; of a secret, only whether it is set."""
    if name == "url" and value:
        return json.dumps(printable(value))
    if has(type(value)):
        return "{" + ", ".join(f"{option} = {json.dumps(setting)}" for option, setting in asdict(value).items()) + "}"
    if not metadata.get(SECRET):
        return value.isoformat() if isinstance(value, date) else json.dumps(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(header)} = (set)" for header in value) + "}"
    return "(set)" if value else "(not set)"
