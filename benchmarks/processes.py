"""Child processes of a benchmark: pinned to a core, measured through /proc, ended with their ``with`` block."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path

from attrs import frozen

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
SECONDS_TO_START = 30
SECONDS_TO_STOP = 10


@frozen
class Process:
    """A running process with its children."""

    popen: subprocess.Popen[bytes]
    log: Path

    def cpu_seconds(self) -> float:
        """Return user and system time so far. The kernel counts it in ticks of 10 ms."""
        return sum(map(_cpu_ticks, _tree(self.popen.pid))) / TICKS_PER_SECOND

    def resident_kilobytes(self) -> int:
        """Return the resident memory in KiB. Pages that processes share count in each of them."""
        return sum(map(resident_kilobytes_of, _tree(self.popen.pid)))

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return when `ready` is true. Raise RuntimeError with the log's end if the process ends, or takes too long."""
        deadline = time.monotonic() + SECONDS_TO_START
        while not ready():
            if self.popen.poll() is not None:
                raise RuntimeError(f"{self.popen.args!r} ended early:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.popen.args!r} did not get ready in {SECONDS_TO_START} s:\n{self.tail()}")
            time.sleep(0.05)

    def tail(self) -> str:
        """Return the last 2,000 characters of the log."""
        return self.log.read_text(errors="replace")[-2000:]


@contextmanager
def started(
    command: Sequence[str | PathLike[str]], core: int | str | None, directory: Path, python_path: Path | None = None
) -> Iterator[Process]:
    """Run `command` in `directory`, with its output in a log there, until the block ends.

    `core` is the number of a core, or several as in ``0,1``; None for all.
    """
    log = directory / f"{Path(command[0]).name}.log"
    with log.open("ab") as output:
        popen = subprocess.Popen(
            [*([] if core is None else ["taskset", "-c", str(core)]), *command],
            cwd=directory,
            env=os.environ | ({"PYTHONPATH": str(python_path)} if python_path else {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # so that the children can be killed as a group
        )
    try:
        yield Process(popen, log)
    finally:
        _end(popen)


def free_port() -> int:
    """Return a TCP port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def listening(port: int) -> bool:
    """Return True if something accepts connections on `port`."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _end(popen: subprocess.Popen[bytes]) -> None:
    popen.terminate()
    try:
        popen.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        os.killpg(popen.pid, signal.SIGKILL)
        popen.wait()


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _tree(int(child))


def _cpu_ticks(pid: int) -> int:
    """Return the ticks of a process and its ended children: fields 14 to 17 of stat, see proc(5)."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, after_name[11:15]))


def resident_kilobytes_of(pid: int) -> int:
    """Return the resident memory of one process in KiB.

    It is from smaps_rollup, which counts pages; stat and status can be off by 64 pages a thread.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))
