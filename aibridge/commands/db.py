"""The commands on the database and on the records in it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from itertools import chain, groupby
from pathlib import Path
from time import sleep

from ..config.model import Config
from ..errors import ConfigError
from ..record import migrations, recovery, search_index
from ..record.database import printable
from ..record.export import FORMATS, Selection, count, export
from ..record.retention import count_old, purge
from ..record.rollups import Rollups
from ..record.store import Store
from ..record.values import utc_now
from .output import Progress, align_columns, confirm, open_private_file, write_note

PAUSE = 0.005
"""Seconds between two steps of deleting, in which a running gateway can write."""


def upgrade_database(config: Config) -> Iterator[str]:
    """Bring the database's tables to this version's schema."""
    steps = migrations.count_steps(config.database.url)
    with Progress("steps done", steps) as progress:
        migrations.upgrade(config.database.url, on_step=progress.advance)
    yield from show_revision(config)


def downgrade_database(config: Config, revision: str, yes: bool) -> Iterator[str]:
    """Take the database's tables back to those of an earlier version. No gateway may run meanwhile."""
    url = config.database.url
    known = migrations.revisions()
    if revision not in known:
        raise ConfigError("command line", "REVISION", f"there is no revision {revision}; there are {', '.join(known)}")
    migrations.require_current(url)
    if not yes:
        confirm(f"Take {printable(url)} back to {revision}, and delete what only later versions have?")
    migrations.downgrade(url, revision)
    yield from show_revision(config)


def show_revision(config: Config) -> Iterator[str]:
    """Show the revision of the database's tables."""
    yield f"{printable(config.database.url)}: {migrations.current(config.database.url) or 'no tables yet'}"


def show_spool(config: Config, flush: bool) -> Iterator[str]:
    """Show the rows that wait on this machine for the database."""
    folder = Path(config.database.spool_dir or "")
    if flush:
        yield f"{_flush_spools(config, folder)} rows moved to {printable(config.database.url)}"
    lines = [("PROCESS", "STATE", "ROWS", "REFUSED")]
    for report in recovery.report_spools(folder):
        state = "running" if report.is_alive else "ended"
        lines.append((str(report.process_id), state, str(report.rows), str(report.refused)))
    yield from align_columns(lines) if len(lines) > 1 else [f"{folder}: nothing is spooled"]


def _flush_spools(config: Config, folder: Path) -> int:
    """Move the rows of all ended processes into the database, and return their number."""
    waiting = sum(report.rows + report.refused for report in recovery.report_spools(folder) if not report.is_alive)
    moved = 0
    with closing(open_store(config)) as store, Progress("rows moved", waiting) as progress:
        for rows in recovery.flush_spools(store, folder):
            moved += rows
            progress.advance(rows)
    return moved


def purge_records(config: Config, before: datetime, dry_run: bool, yes: bool) -> Iterator[str]:
    """Delete the records before a date. A gateway may run meanwhile."""
    if before > utc_now():
        raise ConfigError("command line", "--before", f"{before:%Y-%m-%d %H:%M} UTC is in the future")
    migrations.require_current(config.database.url)
    with closing(open_store(config)) as store:
        due = count_old(store, before)
        if dry_run:
            yield f"{due} interceptions would be deleted"
            return
        if due and not yes:
            confirm(f"Delete {due} interceptions before {before:%Y-%m-%d %H:%M} UTC from {printable(store.url)}?")
        deleted = Counter(interceptions=0)
        with Progress("interceptions deleted", due) as progress:
            for step in purge(store, before, patient=True):
                deleted[step.kind] += step.rows
                if step.kind == "interceptions":
                    progress.advance(step.rows)
                sleep(PAUSE)
    yield from (f"{rows} {kind} deleted" for kind, rows in deleted.items())


def export_records(
    config: Config,
    since: datetime | None,
    until: datetime | None,
    actor: str | None,
    form: str,
    output: str | None,
    force: bool,
) -> Iterator[str]:
    """Write interceptions with all their rows, ordered by time."""
    migrations.require_current(config.database.url)
    selection = Selection(since=since, until=until or utc_now(), actor=actor)
    lines = export(config.database.url, selection, FORMATS[form])
    if output is None:
        yield from lines
        return
    total = count(config.database.url, selection)
    with (
        open_private_file(output, "--output", overwrite=force) as file,
        Progress("interceptions written", total) as bar,
    ):
        for line in lines:
            file.write(f"{line}\n")
            bar.advance()


def roll_up(config: Config, rebuild: bool) -> Iterator[str]:
    """Bring the sums and sessions that the console shows up to date. A running gateway does so by itself."""
    migrations.require_current(config.database.url)
    done = Counter(hours=0, sessions=0)
    with closing(Rollups(config.database.url)) as rollups:
        steps = rollups.run(rebuild=rebuild, take_over=True)
        for kind, of_kind in groupby(steps, key=lambda step: step.kind):
            first = next(of_kind)
            with Progress(f"{kind} rolled up", first.total) as progress:
                for step in chain([first], of_kind):
                    progress.advance(step.number - done[kind])
                    done[kind] = step.number
    yield f"{done['hours']} hours and {done['sessions']} sessions are rolled up"


def enable_search(config: Config) -> Iterator[str]:
    """Make the index for the search in prompts and tools' arguments, again if it is there."""
    migrations.require_current(config.database.url)
    for step in search_index.enable(config.database.url):
        write_note(f"making the {step} ...")
    yield "search is enabled"


def disable_search(config: Config) -> Iterator[str]:
    """Remove the index for the search."""
    migrations.require_current(config.database.url)
    search_index.disable(config.database.url)
    yield "search is disabled"


def open_store(config: Config) -> Store:
    """Return the open store of the configured database."""
    store = Store(config.database.url, lock_timeout=config.database.commit_timeout, budgets=config.budget)
    store.open()
    return store
