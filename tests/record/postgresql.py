"""A PostgreSQL of the tests' own: one cluster a run, on loopback, started by the first test that needs one."""

import atexit
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from twisted.trial.unittest import SkipTest, TestCase

_PR_SET_PDEATHSIG = 1
_QUICK = (
    "fsync=off",
    "full_page_writes=off",
    "max_connections=50",
    "unix_socket_directories=",
    "log_min_messages=fatal",
)
"""What is lost with the machine is no loss here. Whatever shows durability kills processes, not the machine."""


class Cluster:
    """A server of its own in a temporary folder."""

    def __init__(self, programs: Path, *settings: str) -> None:
        self._programs = programs
        self._settings = settings
        self._user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
        self.folder = Path(tempfile.mkdtemp(prefix="aibridge-postgresql-"))
        self.port = free_port()
        self._names = count()
        self._server: subprocess.Popen[bytes] | None = None
        if self._user:
            shutil.chown(self.folder, self._user)
        self._run("initdb", "-D", str(self.folder / "data"), "-U", "test", "-A", "trust", "-E", "UTF8", "-N").wait()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://test@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of an empty database."""
        self.ensure_started()
        name = f"test_{next(self._names)}"
        engine = create_engine(self.url(), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self.url(name)

    def start(self) -> None:
        """Wait until it takes connections."""
        options = [part for setting in (*_QUICK, *self._settings) for part in ("-c", setting)]
        where = ["-D", str(self.folder / "data"), "-p", str(self.port), "-h", "127.0.0.1"]
        self._server = self._run("postgres", *where, *options)
        engine = create_engine(self.url())
        while True:
            try:
                engine.connect().close()
            except OperationalError:
                assert self._server.poll() is None, "the server did not start"
                continue
            break
        engine.dispose()

    def stop(self, with_signal: int = signal.SIGQUIT) -> None:
        """Stop it at once, as a crash does, unless another signal is given."""
        if self._server is not None:
            self._server.send_signal(with_signal)
            self._server.wait()
            self._server = None

    def ensure_started(self) -> None:
        """Start it again if a test before has stopped it, or if it ended with the thread that had started it."""
        if self._server is None or self._server.poll() is not None:
            self.start()

    def pause(self, paused: bool) -> None:
        """Let all of its processes hang, or go on."""
        assert self._server is not None
        children = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children").read_text().split()
        for pid in (self._server.pid, *map(int, children)):
            with suppress(ProcessLookupError):  # one of its workers that ended just now
                os.kill(pid, signal.SIGSTOP if paused else signal.SIGCONT)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        identity: dict[str, Any] = {}
        if self._user:
            entry = pwd.getpwnam(self._user)
            identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        return subprocess.Popen(
            [str(self._programs / program), *arguments],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
            **identity,
        )


def die_with_parent() -> None:
    """A run that is killed leaves no server behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@cache
def programs() -> Path | None:
    """Return the folder of the server's programs; Debian doesn't put them on the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    candidates = [*([Path(found).resolve().parent] if found else []), *folders]
    return next((folder for folder in candidates if (folder / "postgres").exists()), None)


@cache
def cluster() -> Cluster:
    """Return the cluster that all tests share."""
    found = programs()
    assert found is not None
    shared = Cluster(found)
    atexit.register(shared.remove)
    shared.start()
    return shared


class OnPostgreSQL(TestCase):
    """A new PostgreSQL database for each test."""

    def setUp(self) -> None:
        if programs() is None:
            raise SkipTest("PostgreSQL is not installed")
        self.url = cluster().new_database()
