"""Databases to measure: new ones, which are gone when the block that asked for one is left."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.traffic import TRAFFIC_CORE
from tests.record.postgresql import Cluster, programs

_DURABLE = ("fsync=on", "full_page_writes=on")
_OF_A_SERVER = ("shared_buffers=2GB", "max_wal_size=8GB", "maintenance_work_mem=1GB", "random_page_cost=1.1", "jit=off")
"""What one would give it for ten million rows on an SSD; all else as it comes."""


@contextmanager
def sqlite() -> Iterator[str]:
    """The URL of a file."""
    with TemporaryDirectory(prefix="aibridge-bench-") as folder:
        yield f"sqlite:///{Path(folder) / 'bench.sqlite'}"


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a database in a server of its own, which makes its commits durable; away from the gateway's core."""
    found = programs()
    if found is None:
        raise RuntimeError("PostgreSQL is not installed")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {TRAFFIC_CORE})  # what it starts inherits that
    try:
        cluster = Cluster(found, *_DURABLE, *_OF_A_SERVER)
        cluster.start()
    finally:
        os.sched_setaffinity(0, cores)
    try:
        yield cluster.new_database()
    finally:
        cluster.remove()


DATABASES: dict[str, Callable[[], AbstractContextManager[str]]] = {"SQLite": sqlite, "PostgreSQL": postgresql}
