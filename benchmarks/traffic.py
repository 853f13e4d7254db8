"""The upstream that answers requests, and the clients that send them and check every byte."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from attrs import define, evolve, frozen

from benchmarks.processes import free_port, listening, started
from benchmarks.tools import compiled, write_config

TRAFFIC_CORE = 1
SECONDS_OF_GRACE = 60
"""Time beyond the planned end of a run after which open requests count as failed."""


@frozen
class Upstream:
    """A running upstream, with the digests (``length:hash``) of its bodies."""

    port: int
    blocking: str
    streaming: str
    certificate: Path | None = None
    """The certificate of an upstream that speaks TLS."""

    @property
    def address(self) -> str:
        """The beginning of its URLs."""
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"


@contextmanager
def upstream(deltas: int, interval: float, directory: Path, phrases: int = 1) -> Iterator[Upstream]:
    """Run an upstream whose streams have `deltas` events of text and five others, one every `interval` seconds.

    The text of an event has that many phrases of 57 characters.
    """
    command: list[str | Path] = [compiled("upstream"), str(deltas), str(round(interval * 1e6)), str(phrases)]
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
    stall: float = 0.0
    """Seconds for which the clients read nothing."""


@contextmanager
def over_tls(provider: Upstream, directory: Path) -> Iterator[Upstream]:
    """Run nginx with TLS in front of an upstream, on the core of the traffic. Its certificate is ``tls.pem``."""
    key, certificate, port = directory / "tls.key", directory / "tls.pem", free_port()
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key)]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "2"]
    subprocess.run(
        ["openssl", "req", "-x509", *curve, *name, "-out", str(certificate)], check=True, stderr=subprocess.DEVNULL
    )
    directory /= "tls"
    directory.mkdir()
    values = {"port": port, "upstream_port": provider.port, "certificate": certificate, "key": key}
    config = write_config("tls.conf", directory, **values)
    command: list[str | Path] = ["nginx", "-p", directory, "-c", config, "-e", "stderr"]
    with started(command, TRAFFIC_CORE, directory) as process:
        process.wait_until(lambda: listening(port))
        yield evolve(provider, port=port, certificate=certificate)


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
    limits = ["-r", str(load.ramp), "-t", str(load.seconds + SECONDS_OF_GRACE), "-w", str(load.stall)]
    command = ["taskset", "-c", str(TRAFFIC_CORE), str(compiled("load")), *arguments, *end, *limits]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as popen:
        assert popen.stdout is not None, "it is a pipe"
        try:
            yield Clients(popen.stdout)
        finally:
            popen.kill()
