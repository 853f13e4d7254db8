"""The operator's command, ``aibridge``, on the same configuration as the gateway."""

import asyncio
import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
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
from .config.model import Config, load_config
from .errors import AIBridgeError, ConfigError
from .identity.key_store import KeyStore
from .identity.keys import actor_name, duration, item
from .record import migrations, recovery
from .record.database import printable
from .record.export import FORMATS, Selection, export
from .record.ledger import utc_now
from .record.retention import purge
from .record.store import Store
from .settings import SECRET
from .tools.settings import MCPServerSettings
from .tools.toolbox import make_toolbox

_PROBE_TIMEOUT = 60.0
"""Seconds in which MCP servers have to be up, or are shown as they are then."""


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


_BETWEEN_STEPS = 0.005
"""Seconds in which a gateway gets at the database."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit status is 1, after one line on stderr, where it could not be done."""
    options = _parser().parse_args(arguments)
    try:
        for line in options.command(_config(options), **_arguments(options)):
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except AIBridgeError as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 1
    except BrokenPipeError:
        return _no_longer_read()
    return 0


def check(config: Config) -> Iterator[str]:
    """The configuration as it takes effect, without its secrets."""
    for section in ("server", "database", "record", "auth", "limits"):
        yield from _table(section, getattr(config, section))
    for name, provider in config.providers.items():
        yield from _table(f"providers.{name}", provider, type=provider.type)
    yield from _table("mcp", config.mcp)
    for name, server in config.mcp.servers.items():
        yield from _table(f"mcp.{name}", evolve(server, url=server.url and server.address))


def upgrade(config: Config) -> Iterator[str]:
    """Brings the database's tables to this version's form."""
    migrations.upgrade(config.database.url)
    yield from current(config)


def current(config: Config) -> Iterator[str]:
    """The revision that the database's tables have."""
    yield f"{printable(config.database.url)}: {migrations.current(config.database.url) or 'no tables yet'}"


def spool(config: Config, flush: bool) -> Iterator[str]:
    """The rows that wait for the database on this machine; --flush moves those whose process has ended."""
    folder = Path(config.database.spool_dir)
    if flush:
        with closing(Store(config.database.url, lock_timeout=config.database.commit_timeout)) as store:
            store.open()
            yield f"{sum(recovery.flush_spools(store, folder))} rows moved to {printable(config.database.url)}"
    lines = [("PROCESS", "STATE", "ROWS", "REFUSED")]
    for report in recovery.report_spools(folder):
        state = "running" if report.is_alive else "ended"
        lines.append((str(report.process_id), state, str(report.rows), str(report.refused)))
    yield from _columns(lines) if len(lines) > 1 else [f"{folder}: nothing is spooled"]


def delete(config: Config, before: datetime) -> Iterator[str]:
    """Deletes what is older than that, also while a gateway runs."""
    deleted = Counter(interceptions=0)
    with closing(Store(config.database.url, lock_timeout=config.database.commit_timeout)) as store:
        store.open()
        for step in purge(store, before, patient=True):
            deleted[step.kind] += step.rows
            sleep(_BETWEEN_STEPS)
    yield from (f"{rows} {kind} deleted" for kind, rows in deleted.items())


def show_all(
    config: Config, since: datetime | None, until: datetime | None, actor: str | None, form: str, output: str | None
) -> Iterator[str]:
    """Interceptions with all their rows, in the order of time."""
    selection = Selection(since=since, until=until or utc_now(), actor=actor)
    lines = export(config.database.url, selection, FORMATS[form])
    if output is None:
        yield from lines
    else:
        _write(output, lines)


def create(config: Config, actor: str, meta: Sequence[tuple[str, str]], expires: timedelta | None) -> Iterator[str]:
    """Makes a key of the gateway's for an actor, and prints it: it can't be shown again."""
    yield _keys(config).create(actor, dict(meta), expires)


def show(config: Config) -> Iterator[str]:
    """Every key that was made, by its id; of the key itself only a hint."""
    lines = [("ID", "ACTOR", "HINT", "CREATED", "EXPIRES", "REVOKED", "METADATA")]
    for key in _keys(config).all():
        times = (_moment(key.created_at), _moment(key.expires_at), _moment(key.revoked_at))
        metadata = " ".join(f"{name}={value}" for name, value in key.metadata.items())
        lines.append((str(key.id), key.actor, key.hint, *times, metadata))
    yield from _columns(lines)


def revoke(config: Config, key_id: UUID) -> Iterator[str]:
    """Ends a key, in every process, within five seconds."""
    if not _keys(config).revoke(key_id):
        raise ConfigError("command line", "ID", f"there is no key {key_id}")
    yield f"{key_id} is revoked"


def offered(config: Config) -> Iterator[str]:
    """What the MCP servers of the configuration offer now: what of it models get, and what keeps the rest away."""
    for server in probe_servers(config.mcp.servers.values()) if config.mcp.servers else ():
        yield f"{server['name']}  {server['transport']}  {server['address']}  {server['state']}"
        if server["last_error"]:
            yield f"  last error: {server['last_error']}"
        yield from (f"  {tool}" for tool in server["tools"])
        yield from (f"  {tool}: left out by allow and deny" for tool in server["filtered"])
        yield from (f"  {tool}: another tool has its name" for tool in server["name_taken"])


def _parser() -> ArgumentParser:
    shared = ArgumentParser(add_help=False)
    shared.add_argument("--config", metavar="FILE", help="TOML file with the configuration")
    shared.add_argument("--database", metavar="URL", help="SQLAlchemy URL of the records")
    parser = ArgumentParser(prog="aibridge", description="The operator's tool of the aibridge gateway.")
    parser.add_argument("--version", action="version", version=f"aibridge {__version__}")
    areas = parser.add_subparsers(required=True, metavar="AREA")
    for area, title, commands in (
        ("config", "the configuration", {"check": check}),
        ("db", "the database", {"upgrade": upgrade, "current": current, "spool": spool, "purge": delete}),
        ("keys", "the gateway's own keys", {"create": create, "list": show, "revoke": revoke}),
        ("tools", "the tools of MCP servers", {"list": offered}),
    ):
        actions = areas.add_parser(area, help=title).add_subparsers(required=True, metavar="COMMAND")
        for name, command in commands.items():
            action = actions.add_parser(name, parents=[shared], help=command.__doc__)
            action.set_defaults(command=command)
            _add_arguments(action, command)
    action = areas.add_parser(
        "export", parents=[shared], help="records, for other programs", description=show_all.__doc__
    )
    action.set_defaults(command=show_all)
    _add_arguments(action, show_all)
    return parser


def _add_arguments(action: ArgumentParser, command: Any) -> None:
    """What a command asks for besides the configuration."""
    if command is create:
        action.add_argument("--actor", required=True, type=actor_name, help="whose key it is")
        action.add_argument(
            "--meta", metavar="NAME=VALUE", action="append", default=[], type=item, help="what else is known"
        )
        action.add_argument("--expires", metavar="TIME", type=duration, help="how long it is good, such as 90d or 12h")
    elif command is spool:
        action.add_argument("--flush", action="store_true", help="move what ended processes have left")
    elif command is delete:
        action.add_argument("--before", metavar="DATE", required=True, type=date, help="such as 2026-01-31; in UTC")
    elif command is show_all:
        action.add_argument(
            "--since", metavar="DATE", type=date, help="such as 2026-01-31, or 2026-01-31T12:00; in UTC"
        )
        action.add_argument("--until", metavar="DATE", type=date, help="the end of the span, itself excluded; else now")
        action.add_argument("--actor", help="whose interceptions; else everyone's")
        action.add_argument("--format", dest="form", choices=FORMATS, default="jsonl", help="jsonl has all of each row")
        action.add_argument("--output", metavar="FILE", help="where to; else standard output")
    elif command is revoke:
        action.add_argument("key_id", metavar="ID", type=UUID, help="as the list shows it")


def _arguments(options: Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(options).items() if name not in ("command", "config", "database")}


def date(text: str) -> datetime:
    """A date or a time in ISO 8601; in UTC unless it says otherwise."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _write(output: str, lines: Iterator[str]) -> None:
    try:
        with Path(output).open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise ConfigError("command line", "--output", f"{output}: {error.strerror}") from error


def _no_longer_read() -> int:
    """Whoever reads the output has enough of it, as ``head`` has: nothing to complain about."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is written when the program ends
    return 128 + SIGPIPE


def _keys(config: Config) -> KeyStore:
    """The keys, in tables that are there; whoever makes the first key need not have started the gateway."""
    migrations.upgrade(config.database.url)
    return KeyStore(config.database.url)


def _columns(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _moment(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else "-"


def _config(options: Namespace) -> Config:
    given = {"--database": (("database", "url"), options.database)} if options.database is not None else {}
    return load_config(options.config, os.environ, given)


def _table(title: str, values: AttrsInstance, **further: str) -> Iterator[str]:
    yield f"[{title}]"
    yield from (f"{key} = {json.dumps(value)}" for key, value in further.items())
    for key in fields(type(values)):
        if key.name not in ("name", "servers"):
            yield f"{key.name} = {_shown(key.name, getattr(values, key.name), key.metadata)}"
    yield ""


def _shown(name: str, value: Any, metadata: Mapping[str, Any]) -> str:
    if name == "url" and value:
        return json.dumps(printable(value))
    if has(type(value)):
        return "{" + ", ".join(f"{option} = {json.dumps(setting)}" for option, setting in asdict(value).items()) + "}"
    if not metadata.get(SECRET):
        return json.dumps(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(header)} = (set)" for header in value) + "}"
    return "(set)" if value else "(not set)"
