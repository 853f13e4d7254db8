"""The workloads: each drives one proxy and returns figures by name."""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import frozen

from benchmarks.bodies import agent_request
from benchmarks.proxies import PROXIES, Proxy
from benchmarks.traffic import Load, Upstream, clients, over_tls, upstream

SMALL_BODY = 1_300
LARGE_BODY = 111_000
EVENTS_AROUND_DELTAS = 5
BURSTS = 5
Figures = dict[str, float]


@frozen
class Bench:
    """A freshly started proxy and its upstream."""

    proxy: Proxy
    upstream: Upstream
    directory: Path

    def send(self, load: Load) -> Figures:
        """Run one load, and return the clients' figures with the proxy's CPU time."""
        before = self.proxy.process.cpu_seconds()
        with clients(load, self.proxy.port, self.proxy.path, self.directory) as running:
            figures = running.figures()
        return _checked(figures) | {"cpu_seconds": self.proxy.process.cpu_seconds() - before}


@frozen
class Workload:
    """A workload with its target. `run` is called with the bench and the seconds that it may take."""

    title: str
    target: str
    run: Callable[[Bench, float], Figures]
    key: str = ""
    """The figure that the target is about; its range is shown too."""
    interval: float = 0.0
    """Seconds between the events of a stream, which lasts as long as the workload; 0 without streams."""
    events: int = 0
    """Events of text in a stream, if they do not follow from its length and the interval."""
    phrases: int = 1
    """Phrases of text in an event."""
    tls: bool = False
    """True if the upstream speaks TLS."""

    def measure(self, name: str, seconds: float) -> Figures:
        """Start the proxy `name` with an upstream, and return the figures of one run."""
        deltas = round(seconds / self.interval) - EVENTS_AROUND_DELTAS if self.interval else 0
        with TemporaryDirectory(prefix="aibridge-bench-") as temporary, ExitStack() as running:
            directory = Path(temporary)
            provider = running.enter_context(upstream(self.events or deltas, self.interval, directory, self.phrases))
            if self.tls:
                provider = running.enter_context(over_tls(provider, directory))
            proxy = running.enter_context(PROXIES[name](provider, directory))
            return self.run(Bench(proxy, provider, directory), seconds)


def blocking(body_size: int, connections: int = 32) -> Callable[[Bench, float], Figures]:
    """Return a workload of `connections`, each with one blocking request after another."""

    def run(bench: Bench, seconds: float) -> Figures:
        body = agent_request(body_size, streaming=False)
        bench.send(Load(connections, body, bench.upstream.blocking, seconds=seconds / 10))  # to fill caches and pools
        figures = bench.send(Load(connections, body, bench.upstream.blocking, seconds=seconds))
        return figures | {"cpu_us_per_request": figures["cpu_seconds"] / figures["whole"] * 1e6}

    return run


def streams(count: int) -> Callable[[Bench, float], Figures]:
    """Return a workload of so many streams of an event every 30 ms: of 600, about 20,000 events a second."""

    def run(bench: Bench, seconds: float) -> Figures:
        body = agent_request(SMALL_BODY, streaming=True)
        load = Load(count, body, bench.upstream.streaming, requests=count, seconds=seconds, ramp=0.5)
        figures = bench.send(load)
        return figures | {
            "cpu_us_per_event": figures["cpu_seconds"] / figures["events"] * 1e6,
            "core_percent": figures["cpu_seconds"] / figures["seconds"] * 100,
        }

    return run


def at_once(bench: Bench, seconds: float) -> Figures:
    """Begin 100 streams at the same moment, five times."""
    body = agent_request(SMALL_BODY, streaming=True)
    load = Load(100, body, bench.upstream.streaming, requests=100, seconds=seconds)
    bench.send(load)  # to load what all streams share
    return median([bench.send(load) for _ in range(BURSTS)])


def stalled(bench: Bench, seconds: float) -> Figures:
    """Let 20 clients read nothing of 40 MB each for a while, read the memory then, and let them read on."""
    process = bench.proxy.process
    body = agent_request(SMALL_BODY, streaming=True)
    bench.send(Load(1, body, bench.upstream.streaming, requests=1, seconds=seconds))
    before = process.resident_kilobytes()
    load = Load(20, body, bench.upstream.streaming, requests=20, seconds=seconds, stall=seconds)
    with clients(load, bench.proxy.port, bench.proxy.path, bench.directory) as running:
        time.sleep(seconds * 0.8)
        grown = process.resident_kilobytes() - before
        return _checked(running.figures()) | {"growth_mb": grown * 1.024 / 1000}


def memory(bench: Bench, seconds: float) -> Figures:
    """Run 1,000 streams of two events a second, and read the memory while all are open."""
    process = bench.proxy.process
    body = agent_request(SMALL_BODY, streaming=True)
    idle = process.resident_kilobytes()
    bench.send(Load(8, body, bench.upstream.streaming, requests=8, seconds=seconds))  # to load what all requests share
    warm = process.resident_kilobytes()
    load = Load(1000, body, bench.upstream.streaming, requests=1000, seconds=seconds, ramp=1.0)
    with clients(load, bench.proxy.port, bench.proxy.path, bench.directory) as running:
        running.wait_until_open()
        opened = _median_kilobytes(process.resident_kilobytes, seconds / 4)
        figures = _checked(running.figures())
    return figures | {"idle_mb": idle * 1.024 / 1000, "kb_per_stream": (opened - warm) * 1.024 / 1000}


WORKLOADS = {
    "small": Workload(
        "small blocking requests (1.3 kB), 32 connections",
        "requests/s at least 1.0 of aiohttp and 0.1 of nginx; beyond: 0.2 of nginx",
        blocking(SMALL_BODY),
        key="requests_per_second",
    ),
    "lone": Workload(
        "small blocking requests, one connection",
        "P50 at most 3 ms above nginx's; beyond: 1 ms",
        blocking(SMALL_BODY, connections=1),
        key="latency_p50_us",
    ),
    "large": Workload(
        "large blocking requests (111 kB), 32 connections",
        "requests/s at least 1.5 of aiohttp and 0.25 of nginx; beyond: 0.5 of nginx",
        blocking(LARGE_BODY),
        key="requests_per_second",
    ),
    "streams": Workload(
        "600 streams, 20,000 events/s",
        "CPU per event at most 2.0 of nginx and under 1.0 of aiohttp, core at most 60 %, all exact; "
        "beyond: 1.5 of nginx",
        streams(600),
        key="cpu_us_per_event",
        interval=0.03,
    ),
    "tls": Workload(
        "300 streams, TLS to the provider",
        "CPU per event at most 2.2 of nginx",
        streams(300),
        key="cpu_us_per_event",
        interval=0.03,
        tls=True,
    ),
    "burst": Workload(
        "100 new streams at once",
        "1st event P50 at most 3.0 of nginx and 1.5 of aiohttp",
        at_once,
        key="first_byte_p50_us",
        interval=0.03,
        events=20,
    ),
    "memory": Workload(
        "1,000 open streams",
        "at most 25 kB a stream; idle at most 90 MB",
        memory,
        key="kb_per_stream",
        interval=0.5,
    ),
    "stalled": Workload(
        "20 clients that stop reading, 40 MB each",
        "at most 8 MB of growth in all, every byte exact",
        stalled,
        key="growth_mb",
        events=5_000,
        phrases=140,
    ),
}


def median(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _median_kilobytes(read: Callable[[], int], seconds: float) -> float:
    readings = []
    for _ in range(5):
        time.sleep(seconds / 5)
        readings.append(read())
    return statistics.median(readings)


def _checked(figures: dict[str, Any]) -> Figures:
    """Print the first failure, if any, and return the other figures. Raise RuntimeError if no response was whole."""
    failure = figures.pop("first_failure")
    if not figures["whole"]:
        raise RuntimeError(f"No response was whole: {failure}")
    if failure:
        print(f"{figures['failed']} requests failed, the first one: {failure}", file=sys.stderr)
    return figures
