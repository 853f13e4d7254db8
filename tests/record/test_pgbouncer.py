"""PostgreSQL behind PgBouncer in transaction mode: each transaction has another session of the server."""

import os
import pwd
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from twisted.trial.unittest import SkipTest

from aibridge.identity.key_store import KeyStore
from aibridge.record import migrations
from aibridge.record.export import FORMATS, Selection, export
from aibridge.record.leases import expired_processes, renew_lease
from aibridge.record.records import InterceptionRecord, InterceptionRecordEnded
from aibridge.record.retention import purge
from aibridge.record.store import Store
from aibridge.record.values import new_id, utc_now
from aibridge.recorder import SQLRecorder

from .databases import stored
from .postgresql import OnPostgreSQL, die_with_parent, free_port
from .samples import exchange

_PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


class PgBouncerTests(OnPostgreSQL):
    """Everything that the gateway does with the database, through a pool of three sessions."""

    timeout = 60

    def setUp(self) -> None:
        super().setUp()
        if _PROGRAM is None:
            raise SkipTest("PgBouncer is not installed")
        _, _, place = self.url.rpartition("@")
        port, _, database = place.removeprefix("127.0.0.1:").partition("/")
        self.direct, listening = self.url, free_port()
        self.url = f"postgresql://test@127.0.0.1:{listening}/{database}"
        folder = Path(tempfile.mkdtemp(prefix="aibridge-pgbouncer-"))
        self.addCleanup(shutil.rmtree, folder)
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n{database} = host=127.0.0.1 port={port} user=test\n"
            "[pgbouncer]\npool_mode = transaction\nauth_type = any\ndefault_pool_size = 3\nunix_socket_dir =\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {listening}\n"
        )
        self.start_pooler(_PROGRAM, settings)
        migrations.upgrade(self.url)

    def start_pooler(self, program: str, settings: Path) -> None:
        identity: dict[str, Any] = {}
        if os.getuid() == 0:  # it refuses to run as root
            user = pwd.getpwnam("postgres")
            identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            shutil.chown(settings.parent, user.pw_uid)
        pooler = subprocess.Popen(
            [program, str(settings)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
            **identity,
        )
        self.addCleanup(pooler.wait)
        self.addCleanup(pooler.kill)
        engine = create_engine(self.url.replace("postgresql:", "postgresql+psycopg:"))
        for _ in range(500):
            try:
                engine.connect().close()
                break
            except OperationalError as error:
                why = str(error)
                sleep(0.02)
        else:
            raise AssertionError(f"PgBouncer did not start: {why}")
        engine.dispose()

    def test_many_sessions(self) -> None:
        """Gateways at the same time, and often the same statement: no statement is unknown or there already."""

        def write(number: int) -> list[Any]:
            store = Store(self.url)
            encoder, refused = store.encoder(new_id()), []
            for _ in range(30):
                refused += store.commit([encoder(record) for record in exchange()])
                with store.transaction() as connection:
                    renew_lease(connection, new_id(), utc_now(), utc_now())
                    expired_processes(connection)
            store.close()
            return refused

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(write, range(6))) == [[]] * 6
        assert len(stored(self.direct, InterceptionRecordEnded)) == 180

    def test_everything_else(self) -> None:
        """Exports, keys, purges and migrations work as they do without it."""
        for _ in range(8):
            migrations.check(self.url)
        store = Store(self.url)
        store.commit([store.encoder(new_id())(record) for record in exchange()])
        now = datetime.now(UTC) + timedelta(hours=1)
        for _ in range(12):
            assert len(list(export(self.url, Selection(until=now), FORMATS["jsonl"]))) == 1
            KeyStore(self.url).create("alice", {}, None)
            assert next(iter(KeyStore(self.url).all())).actor == "alice"
        assert [step.kind for step in purge(store, now, patient=True)][:1] == ["interceptions"]
        store.close()
        assert stored(self.direct, InterceptionRecord) == []

    async def test_recorder(self) -> None:
        """A recorder without a spool, which fails at the first error, records one exchange after the other."""
        from twisted.internet import reactor

        recorder = SQLRecorder(self.url, reactor=reactor)
        await recorder.startService()
        for _ in range(30):
            for record in exchange():
                await recorder.record_all([record])
        await recorder.stopService()
        assert len(stored(self.direct, InterceptionRecordEnded)) == 30
