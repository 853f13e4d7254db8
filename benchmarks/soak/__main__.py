"""Run mixed traffic against the gateway, and compare its memory, descriptors, delayed calls and threads."""

import asyncio
import json
import statistics
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import Factory, define

from benchmarks.processes import Process, free_port, resident_kilobytes_of, started
from benchmarks.proxies import is_ready
from benchmarks.soak.clients import Traffic
from benchmarks.soak.plot import plot

HERE = Path(__file__).parent
ROUND = 60.0
"""Seconds of traffic between two rests."""
REST = 8.0
"""Seconds without traffic, after which the gateway is at rest: no request is in flight, and nothing is queued."""
SPARES = {"memory, MB": 8.0, "descriptors": 4, "delayed calls": 4, "tasks": 2, "threads": 2}
"""The most by which a figure at rest may be higher at the end than it was at the beginning."""

CONFIG = """
[server]
listen = "tcp:{port}:interface=127.0.0.1"
admin_listen = "tcp:{admin_port}:interface=127.0.0.1"
stall_timeout = 5.0
[database]
url = "{database}"
[limits]
concurrent = 1000
[providers.anthropic]
base_url = "http://127.0.0.1:{provider}"
api_key = "soak"
idle_timeout = 5.0
[providers.openai]
base_url = "http://127.0.0.1:{provider}/v1"
api_key = "soak"
idle_timeout = 5.0
[mcp.soak]
transport = "stdio"
command = "{python}"
args = ["{server}"]
"""


@define
class Gateway:
    """The gateway under observation."""

    process: Process
    port: int
    probe: Path
    began: float = Factory(time.monotonic)
    minutes: list[float] = Factory(list)
    series: dict[str, list[float]] = Factory(lambda: {name: [] for name in SPARES})

    def look(self) -> dict[str, float]:
        """Return its figures now, and keep them for the plot."""
        pid = self.process.popen.pid
        figures = {
            "memory, MB": resident_kilobytes_of(pid) * 1.024 / 1000,
            "descriptors": len([*Path(f"/proc/{pid}/fd").iterdir()]),
            **json.loads(self.probe.read_text()),
        }
        self.minutes.append((time.monotonic() - self.began) / 60)
        for name, values in self.series.items():
            values.append(figures[name])
        return figures

    async def look_often(self) -> None:
        """Look every second, until this is cancelled."""
        while True:
            self.look()
            await asyncio.sleep(1.0)


def main() -> None:
    options = _options()
    with TemporaryDirectory(prefix="aibridge-soak-") as folder, _gateway(Path(folder), options) as gateway:
        traffic = Traffic(gateway.port)
        rests = asyncio.run(_soak(gateway, traffic, options))
    options.plot.write_text(plot(gateway.minutes, gateway.series, f"{options.minutes:g} minutes of mixed traffic"))
    print("\n".join(f"{count:8,} {kind}" for kind, count in sorted(traffic.ended.items())))
    grown = [*_compare(rests)]
    for failure in traffic.failures[:10]:
        print(f"failed: {failure}")
    if grown or len(traffic.failures) > sum(traffic.ended.values()) / 1000:
        sys.exit(f"Not as before: {', '.join(grown) or f'{len(traffic.failures)} exchanges failed'}")


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="duration (30)")
    parser.add_argument("--clients", type=int, default=40, help="clients at the same time (40)")
    parser.add_argument("--database", default="sqlite:///soak.sqlite", help="URL of the records (a new SQLite file)")
    parser.add_argument("--plot", type=Path, metavar="FILE", default=Path("soak.svg"), help="the picture (soak.svg)")
    return parser.parse_args()


@contextmanager
def _gateway(folder: Path, options: Namespace) -> Iterator[Gateway]:
    """Run provider and gateway until the block ends."""
    module = [sys.executable, "-m"]
    with _started([*module, "benchmarks.soak.provider"], folder / "provider") as provider:
        provider.wait_until(lambda: provider.tail().endswith("\n"))
        port, admin_port = free_port(), free_port()
        (folder / "gateway").mkdir()
        config = folder / "gateway" / "soak.toml"
        config.write_text(
            CONFIG.format(
                port=port,
                admin_port=admin_port,
                database=options.database,
                provider=int(provider.tail()),
                python=sys.executable,
                server=HERE / "mcp_server.py",
            )
        )
        twistd = ["--nodaemon", "--pidfile=", "aibridge", "--config", str(config)]
        probe = folder / "gateway" / "probe.json"
        command = [*module, "benchmarks.soak.gateway", str(probe), *twistd]
        with _started(command, folder / "gateway") as process:
            process.wait_until(lambda: probe.exists() and is_ready(f"http://127.0.0.1:{admin_port}/readyz"))
            yield Gateway(process, port, probe)


@contextmanager
def _started(command: list[str], folder: Path) -> Iterator[Process]:
    folder.mkdir(exist_ok=True)
    with started(command, None, folder, python_path=HERE.parents[1]) as process:
        yield process


async def _soak(gateway: Gateway, traffic: Traffic, options: Namespace) -> list[dict[str, float]]:
    """Send traffic with rests in between. Return the figures at each rest but those of the first third.

    Until then caches fill, and so does the garbage that the interpreter lets collect.
    """
    looking = asyncio.create_task(gateway.look_often())
    until, rests = time.monotonic() + options.minutes * 60, []
    while time.monotonic() < until:
        await traffic.run(options.clients, min(ROUND, max(10.0, (until - time.monotonic()) / 2)))
        await asyncio.sleep(REST)
        rests.append(gateway.look())
        figures = ", ".join(f"{name} {value:,.0f}" for name, value in rests[-1].items())
        print(f"{gateway.minutes[-1]:5.1f} min, {sum(traffic.ended.values()):,} exchanges: {figures}", file=sys.stderr)
    looking.cancel()
    return rests[len(rests) // 3 :]


def _compare(rests: list[dict[str, float]]) -> Iterator[str]:
    """Print the figures of the first rests beside those of the last ones, and yield what has grown too much."""
    few = max(1, len(rests) // 5)
    for name, spare in SPARES.items():
        first, last = (statistics.median(rest[name] for rest in part) for part in (rests[:few], rests[-few:]))
        print(f"{name:>14}: {first:8,.1f} at the beginning, {last:8,.1f} at the end")
        if last - first > spare:
            yield name


if __name__ == "__main__":
    main()
