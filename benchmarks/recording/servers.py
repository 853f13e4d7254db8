"""New databases to measure, removed at the end of their ``with`` block."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.traffic import TRAFFIC_CORE
from tests.record.postgresql import Cluster, programs

_DURABLE = ("fsync=on", "full_page_writes=on")
_TUNED = ("shared_buffers=2GB", "max_wal_size=8GB", "maintenance_work_mem=1GB", "random_page_cost=1.1", "jit=off")
"""Usual settings for ten million rows on an SSD. All others keep their defaults."""


@contextmanager
def sqlite() -> Iterator[str]:
    """Make an SQLite database, and return its URL."""
    with TemporaryDirectory(prefix="aibridge-bench-") as folder:
        yield f"sqlite:///{Path(folder) / 'bench.sqlite'}"


@contextmanager
def postgresql() -> Iterator[str]:
    """Start a PostgreSQL server with durable commits on the traffic's core, and return the URL of a database."""
    found = programs()
    if found is None:
        raise RuntimeError("PostgreSQL is not installed")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {TRAFFIC_CORE})  # child processes inherit it
    try:
        cluster = Cluster(found, *_DURABLE, *_TUNED)
        cluster.start()
    finally:
        os.sched_setaffinity(0, cores)
    try:
        yield cluster.new_database()
    finally:
        cluster.remove()


DATABASES: dict[str, Callable[[], AbstractContextManager[str]]] = {"SQLite": sqlite, "PostgreSQL": postgresql}
