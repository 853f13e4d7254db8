"""The operator's command ``aibridge``. It reads the same configuration as the gateway."""

import asyncio
import json
import os
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from signal import SIGPIPE
from time import sleep
from typing import Any
from uuid import UUID

from attrs import AttrsInstance, asdict, evolve, fields, has
from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from . import __version__
from .commands.first_run import add_first_run_commands
from .config.model import Config, config_warnings, load_config
from .cost_commands import show_cost
from .errors import AIBridgeError, ConfigError
from .identity.key_store import KeyStore
from .identity.keys import actor_name, duration, item
from .record import migrations, recovery
from .record.database import printable
from .record.export import FORMATS, Selection, export
from .record.retention import purge
from .record.store import Store
from .record.values import utc_now
from .settings import SECRET
from .tools.settings import MCPServerSettings
from .tools.toolbox import make_toolbox

_PROBE_TIMEOUT = 60.0
"""Seconds that `aibridge tools list` waits for MCP servers."""
_PURGE_PAUSE = 0.005
"""Seconds between two steps of a purge, in which a running gateway can write."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Return its exit status: 1, after one line on standard error, if it failed."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["run"]:
        return run_gateway(arguments[1:])
    options = vars(make_parser().parse_args(arguments))
    run, config_file, database = options.pop("run"), options.pop("config"), options.pop("database")
    overrides = {"--database": (("database", "url"), database)} if database is not None else {}
    try:
        load = options.pop("load", load_config)
        for line in run(load(config_file, os.environ, overrides), **options):
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
    _add(database, "upgrade", upgrade_database)
    _add(database, "current", show_revision)
    _add(database, "spool", show_spool).add_argument(
        "--flush", action="store_true", help="move the rows that ended processes have left into the database"
    )
    _add(database, "purge", purge_records).add_argument(
        "--before", metavar="DATE", required=True, type=parse_date, help="such as 2026-01-31; in UTC"
    )

    _add_key_commands(area("keys", "the gateway's own keys"))
    _add(area("tools", "the tools of MCP servers"), "list", list_tools)

    show = _add(area("cost", "prices of models"), "show", show_cost)
    show.add_argument("model", metavar="MODEL", help="as answers name it, such as claude-opus-5-5")
    show.add_argument("--provider", metavar="NAME", help="only this configured provider; default: all")

    export = _add(areas, "export", export_records)
    date_help = "such as 2026-01-31, or 2026-01-31T12:00; in UTC"
    export.add_argument("--since", metavar="DATE", type=parse_date, help=date_help)
    export.add_argument(
        "--until", metavar="DATE", type=parse_date, help="end of the span, itself excluded; default: now"
    )
    export.add_argument("--actor", help="only this actor's interceptions; default: everyone's")
    export.add_argument(
        "--format", dest="form", choices=FORMATS, default="jsonl", help="only jsonl has all of each row"
    )
    export.add_argument("--output", metavar="FILE", help="default: standard output")
    return parser


def _add_key_commands(keys: Any) -> None:
    create = _add(keys, "create", create_key)
    create.add_argument("--actor", required=True, type=actor_name, help="the key's owner")
    create.add_argument(
        "--meta", metavar="NAME=VALUE", action="append", default=[], type=item, help="metadata of the owner"
    )
    create.add_argument("--expires", metavar="TIME", type=duration, help="lifetime of the key, such as 90d or 12h")
    _add(keys, "list", list_keys)
    _add(keys, "revoke", revoke_key).add_argument("key_id", metavar="ID", type=UUID, help="as the list shows it")


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
    for warning in config_warnings(config):
        yield f"# warning: {warning}"


def upgrade_database(config: Config) -> Iterator[str]:
    """Bring the database's tables to this version's schema."""
    migrations.upgrade(config.database.url)
    yield from show_revision(config)


def show_revision(config: Config) -> Iterator[str]:
    """Show the revision of the database's tables."""
    yield f"{printable(config.database.url)}: {migrations.current(config.database.url) or 'no tables yet'}"


def show_spool(config: Config, flush: bool) -> Iterator[str]:
    """Show the rows that wait on this machine for the database."""
    folder = Path(config.database.spool_dir or "")
    if flush:
        with closing(Store(config.database.url, lock_timeout=config.database.commit_timeout)) as store:
            store.open()
            yield f"{sum(recovery.flush_spools(store, folder))} rows moved to {printable(config.database.url)}"
    lines = [("PROCESS", "STATE", "ROWS", "REFUSED")]
    for report in recovery.report_spools(folder):
        state = "running" if report.is_alive else "ended"
        lines.append((str(report.process_id), state, str(report.rows), str(report.refused)))
    yield from _columns(lines) if len(lines) > 1 else [f"{folder}: nothing is spooled"]


def purge_records(config: Config, before: datetime) -> Iterator[str]:
    """Delete the records before a date. A gateway may run meanwhile."""
    deleted = Counter(interceptions=0)
    with closing(Store(config.database.url, lock_timeout=config.database.commit_timeout)) as store:
        store.open()
        for step in purge(store, before, patient=True):
            deleted[step.kind] += step.rows
            sleep(_PURGE_PAUSE)
    yield from (f"{rows} {kind} deleted" for kind, rows in deleted.items())


def export_records(
    config: Config, since: datetime | None, until: datetime | None, actor: str | None, form: str, output: str | None
) -> Iterator[str]:
    """Write interceptions with all their rows, ordered by time."""
    selection = Selection(since=since, until=until or utc_now(), actor=actor)
    lines = export(config.database.url, selection, FORMATS[form])
    if output is None:
        yield from lines
        return
    try:
        with Path(output).open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise ConfigError("command line", "--output", f"{output}: {error.strerror}") from error


def create_key(config: Config, actor: str, meta: Sequence[tuple[str, str]], expires: timedelta | None) -> Iterator[str]:
    """Create a gateway key for an actor, and print it. It can't be shown again."""
    yield _key_store(config).create(actor, dict(meta), expires)


def list_keys(config: Config) -> Iterator[str]:
    """List all keys by their ids, each with its last two characters as a hint."""
    lines = [("ID", "ACTOR", "HINT", "CREATED", "EXPIRES", "REVOKED", "METADATA")]
    for key in _key_store(config).all():
        moments = (key.created_at, key.expires_at, key.revoked_at)
        times = [moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else "-" for moment in moments]
        metadata = " ".join(f"{name}={value}" for name, value in key.metadata.items())
        lines.append((str(key.id), key.actor, key.hint, times[0], times[1], times[2], metadata))
    yield from _columns(lines)


def revoke_key(config: Config, key_id: UUID) -> Iterator[str]:
    """Revoke a key. Every gateway process refuses it within five seconds."""
    if not _key_store(config).revoke(key_id):
        raise ConfigError("command line", "ID", f"there is no key {key_id}")
    yield f"{key_id} is revoked"


def list_tools(config: Config) -> Iterator[str]:
    """List the tools that the configured MCP servers have now, and which of them models get."""
    for server in probe_servers(config.mcp.servers.values()) if config.mcp.servers else ():
        yield f"{server['name']}  {server['transport']}  {server['address']}  {server['state']}"
        if server["last_error"]:
            yield f"  last error: {server['last_error']}"
        yield from (f"  {tool}" for tool in server["tools"])
        yield from (f"  {tool}: left out by allow and deny" for tool in server["filtered"])
        yield from (f"  {tool}: another tool has its name" for tool in server["name_taken"])
        for left in server["left_out"]:
            yield f"  {left['tool']}: left out for {left['api'] or 'every API'}: {left['reason']}"


def probe_servers(servers: Iterable[MCPServerSettings]) -> list[dict[str, Any]]:
    """Connect to MCP servers, and return the toolbox's status. Runs the reactor, so a process can call this once."""
    asyncioreactor.install(asyncio.new_event_loop())
    from twisted.internet import reactor

    async def probe() -> list[dict[str, Any]]:
        toolbox = make_toolbox(servers, reactor)
        toolbox.start()
        try:
            await toolbox.settled().addTimeout(_PROBE_TIMEOUT, reactor, onTimeoutCancel=lambda result, seconds: None)
            return toolbox.status()
        finally:
            await toolbox.stop()

    ended: list[list[dict[str, Any]] | Failure] = []

    def finish(result: list[dict[str, Any]] | Failure) -> None:
        ended.append(result)
        reactor.stop()

    reactor.callLater(0, lambda: Deferred.fromCoroutine(probe()).addBoth(finish))
    reactor.run()
    if not ended:
        raise AIBridgeError("interrupted")
    if isinstance(ended[0], Failure):
        ended[0].raiseException()
    return ended[0]


def parse_date(text: str) -> datetime:
    """Parse a date or a time in ISO 8601, in UTC if it has no time zone."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _key_store(config: Config) -> KeyStore:
    """Return the key store. Create its tables if necessary: the first key may be older than the first gateway."""
    migrations.upgrade(config.database.url)
    return KeyStore(config.database.url)


def _columns(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Align lines of cells."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _table(title: str, values: AttrsInstance, **further: Any) -> Iterator[str]:
    """Show one section of the configuration, as in its file."""
    yield f"[{title}]"
    yield from (f"{key} = {json.dumps(value)}" for key, value in further.items())
    for key in fields(type(values)):
        if key.name not in ("name", "servers", "models", "retention_days"):
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
