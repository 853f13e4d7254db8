"""The commands for trying out the gateway."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import timedelta

from sqlalchemy import select

from ..config.loader import load_config
from ..config.model import DEMO_DATABASE, Config
from ..config.sources import KeyPath
from ..errors import ConfigError
from ..record.budgets.budget_store import BudgetStore
from ..record.budgets.periods import MONTHLY
from ..record.database import printable
from ..record.records import InterceptionRecord, Record
from ..record.rollup_changes import mark_changed
from ..record.rollups import Rollups
from ..record.schema import interceptions
from ..record.store import Store
from ..record.values import utc_now
from .db import open_store
from .demo_records import CAPS, DAYS, PEOPLE, make_month
from .output import Progress

_SESSIONS_AT_ONCE = 20


def load_for_demo(path: str | None, environ: Mapping[str, str], options: Mapping[str, tuple[KeyPath, str]]) -> Config:
    """Return the configuration, with the demo's database unless a file or an option names one."""
    if path is None and not options:
        options = {"demo fill": (("database", "url"), DEMO_DATABASE)}
    return load_config(path, environ, options)


def fill_database(config: Config, force: bool) -> Iterator[str]:
    """Fill the database with a plausible month of records, so that the console has something to show."""
    now = utc_now()
    with closing(open_store(config)) as store:
        if not force and _has_records(store):
            why = f"{printable(store.url)} has records already; give --force to add the demo's to them"
            raise ConfigError("command line", "--force", why)
        sessions = [*make_month(now)]
        _write_sessions(store, sessions)
        with store.transaction() as connection:
            mark_changed(connection, now - timedelta(days=DAYS))
    with closing(Rollups(config.database.url)) as rollups:
        for _ in rollups.run(take_over=True):
            pass
    caps = BudgetStore(config.database.url, config.budget)
    for scope, name, limit in CAPS:
        caps.set(scope, name, MONTHLY, limit)
    count = sum(isinstance(record, InterceptionRecord) for records in sessions for record in records)
    yield f"{count} interceptions of {len(sessions)} sessions are in {printable(config.database.url)}"
    yield "Look at them at http://127.0.0.1:8081 while the gateway runs with this database: twistd -n aibridge --demo"


def _has_records(store: Store) -> bool:
    """Return True if there are interceptions; in the demo's own database, those of requests to the demo don't count."""
    found = select(interceptions.c.id).limit(1)
    if store.url == DEMO_DATABASE:
        found = found.where(interceptions.c.initiator_id.in_(PEOPLE))
    with store.transaction() as connection:
        return connection.execute(found).first() is not None


def _write_sessions(store: Store, sessions: Sequence[Sequence[Record]]) -> None:
    encoder = store.encoder(None)
    with Progress("sessions written", len(sessions)) as progress:
        for start in range(0, len(sessions), _SESSIONS_AT_ONCE):
            some = sessions[start : start + _SESSIONS_AT_ONCE]
            store.commit([encoder(record) for records in some for record in records], is_fresh=False)
            progress.advance(len(some))
