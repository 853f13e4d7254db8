"""The upstream that answers requests, and the clients that send them and check every byte."""

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
"""Time beyond the planned end of a run after which open requests count as failed."""


@frozen
class Upstream:
    """A running upstream, with the digests (``length:hash``) of its bodies."""

    port: int
    blocking: str
    streaming: str


@contextmanager
def upstream(deltas: int, interval: float, directory: Path) -> Iterator[Upstream]:
    """Run an upstream whose streams have `deltas` events of text and five others, one every `interval` seconds."""
    command: list[str | Path] = [compiled("upstream"), str(deltas), str(round(interval * 1e6))]
    with started(command, TRAFFIC_CORE, directory) as process:
        process.wait_until(lambda: process.tail().endswith("\n"))
        yield Upstream(**json.loads(process.tail()))


@frozen
class Load:
    """The work of the clients."""

    connections: int
    body: bytes
    """Body of every request."""
    expected: str
    """Digest of the body of every correct response."""
    requests: int | None = None
    """Number of requests in all; None to send requests for `seconds`."""
    seconds: float = 0.0
    """Planned duration."""
    ramp: float = 0.0
    """Seconds over which the first requests are spread."""


@define
class Clients:
    """Running clients."""

    output: IO[str]

    def wait_until_open(self) -> None:
        """Wait until every connection has received the beginning of a response."""
        if "open" not in (line := self._line()):
            raise RuntimeError(f"Some clients got no response: {line}")

    def figures(self) -> dict[str, Any]:
        """Wait until all requests are done, and return the figures."""
        while "open" in (line := self._line()):
            pass
        return line

    def _line(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(self.output.readline())
        return line


@contextmanager
def clients(load: Load, port: int, path: str, directory: Path) -> Iterator[Clients]:
    """Run clients of the proxy at `port` until the block ends."""
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
