"""The two ends of a measurement: the upstream that answers, and the clients that ask and check every byte."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from attrs import define, frozen

from benchmarks.processes import started
from benchmarks.tools import compiled

TRAFFIC_CORE = 1
SECONDS_OF_GRACE = 60
"""After these, beyond the time that a run should take, what is still open counts as failed."""


@frozen
class Upstream:
    """A running upstream, and the digests (``length:hash``) of the bodies that it sends."""

    port: int
    blocking: str
    streaming: str


@contextmanager
def upstream(deltas: int, interval: float, directory: Path) -> Iterator[Upstream]:
    """Its streams have `deltas` events of text and five others, one every `interval` seconds."""
    command: list[str | Path] = [compiled("upstream"), str(deltas), str(round(interval * 1e6))]
    with started(command, TRAFFIC_CORE, directory) as process:
        process.wait_until(lambda: process.tail().endswith("\n"))
        yield Upstream(**json.loads(process.tail()))


@frozen
class Load:
    """What the clients do: how many, with which body, for how long, and what they should get."""

    connections: int
    body: bytes
    expected: str
    requests: int | None = None
    """Ends after so many in all; else after `seconds`."""
    seconds: float = 0.0
    """How long it runs, or should take."""
    ramp: float = 0.0
    """The first requests are spread over so many seconds."""


@define
class Clients:
    """A running load."""

    output: IO[str]

    def wait_until_open(self) -> None:
        """Until every connection has the beginning of an answer."""
        if "open" not in (line := self._line()):
            raise RuntimeError(f"not every client was answered: {line}")

    def figures(self) -> dict[str, Any]:
        """What they saw, once all is over."""
        while "open" in (line := self._line()):
            pass
        return line

    def _line(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(self.output.readline())
        return line


@contextmanager
def clients(load: Load, port: int, path: str, directory: Path) -> Iterator[Clients]:
    body_file = directory / "body.json"
    body_file.write_bytes(load.body)
    end = ["-n", str(load.requests)] if load.requests else ["-d", str(load.seconds)]
    arguments = ["-p", str(port), "-P", path, "-b", str(body_file), "-e", load.expected, "-c", str(load.connections)]
    limits = ["-r", str(load.ramp), "-t", str(load.seconds + SECONDS_OF_GRACE)]
    command = ["taskset", "-c", str(TRAFFIC_CORE), str(compiled("load")), *arguments, *end, *limits]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as popen:
        assert popen.stdout is not None, "it is a pipe"
        try:
            yield Clients(popen.stdout)
        finally:
            popen.kill()
