"""Thousands of streams at once, and a huge request beside small ones: ``python -m benchmarks.many_streams``."""

import resource
import statistics
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bodies import agent_request
from benchmarks.proxies import aibridge
from benchmarks.traffic import Load, clients, upstream
from benchmarks.workloads import EVENTS_AROUND_DELTAS, SMALL_BODY, Figures

INTERVAL = 2.0
"""Seconds between two events of a stream."""
HUGE_BODY = 16_000_000


def main() -> None:
    options = _options()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with TemporaryDirectory(prefix="aibridge-bench-") as folder:
        print("\n".join([*open_streams(options, Path(folder))]))
    for beside in (False, True):
        with TemporaryDirectory(prefix="aibridge-bench-") as folder:
            figures = small_requests(options.seconds / 4, Path(folder), beside)
        words = f"beside requests of {HUGE_BODY / 1e6:.0f} MB" if beside else "alone"
        print(
            f"32 connections with small requests {words}: P50 {figures['latency_p50_us'] / 1e3:.1f} ms, "
            f"P99 {figures['latency_p99_us'] / 1e3:.1f} ms, {figures['failed']:.0f} failed"
        )


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.many_streams", description=__doc__)
    parser.add_argument("--streams", type=int, default=5000, help="streams that are open at once (5000)")
    parser.add_argument("--seconds", type=float, default=40.0, help="length of a stream (40)")
    return parser.parse_args()


def open_streams(options: Namespace, directory: Path) -> Iterator[str]:
    """Open the streams, and yield what they take."""
    count, seconds = options.streams, options.seconds
    body = agent_request(SMALL_BODY, streaming=True)
    deltas = round(seconds / INTERVAL) - EVENTS_AROUND_DELTAS
    planned = (deltas + EVENTS_AROUND_DELTAS - 1) * INTERVAL
    with upstream(deltas, INTERVAL, directory) as provider, aibridge(provider, directory) as proxy:

        def load(streams: int, ramp: float) -> Load:
            return Load(streams, body, provider.streaming, requests=streams, seconds=seconds, ramp=ramp)

        with clients(load(8, 0.0), proxy.port, proxy.path, directory) as running:
            running.figures()  # to load what all requests share
        warm, used = proxy.process.resident_kilobytes(), proxy.process.cpu_seconds()
        with clients(load(count, seconds / 4), proxy.port, proxy.path, directory) as running:
            running.wait_until_open()
            opened = statistics.median(_readings(proxy.process.resident_kilobytes))
            figures = running.figures()
        used = proxy.process.cpu_seconds() - used
    yield (
        f"{count:,} streams open at once: {(opened - warm) * 1.024 / count:.1f} kB each, "
        f"{opened * 1.024 / 1000:.0f} MB in all; {figures['whole']:,} whole, {figures['exact']:,} exact, "
        f"{figures['failed']:,} failed"
    )
    late = [figures[f"latency_{part}_us"] / 1e3 - planned * 1e3 for part in ("p50", "p99")]
    first = [figures[f"first_byte_{part}_us"] / 1e3 for part in ("p50", "p99")]
    yield f"first event after P50 {first[0]:.0f} ms, P99 {first[1]:.0f} ms"
    yield f"last event late by P50 {late[0]:.0f} ms, P99 {late[1]:.0f} ms, with the upstream's own lateness"
    yield f"{used / figures['events'] * 1e6:.0f} µs of CPU for an event, with its part of the request"


def _readings(read: Callable[[], int]) -> Iterator[int]:
    for _ in range(5):
        yield read()
        time.sleep(0.3)


def small_requests(seconds: float, directory: Path, beside_huge: bool) -> Figures:
    """Return the figures of small requests, alone or beside one connection that sends huge ones."""
    small = agent_request(SMALL_BODY, streaming=False)
    huge = b'{"model": "claude-sonnet-4-5", "max_tokens": 1, "messages": [{"role": "user", "content": "%b"}]}'
    with upstream(0, 0.0, directory) as provider, aibridge(provider, directory) as proxy:
        (directory / "huge").mkdir()
        others = Load(1, huge % (b"x" * HUGE_BODY), provider.blocking, seconds=seconds)
        load = Load(32, small, provider.blocking, seconds=seconds)
        with clients(load, proxy.port, proxy.path, directory) as running:
            if beside_huge:
                with clients(others, proxy.port, proxy.path, directory / "huge") as second:
                    second.figures()
            figures: Figures = running.figures()
    return figures


if __name__ == "__main__":
    main()
