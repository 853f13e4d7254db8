"""The gain of workers: ``python -m benchmarks.workers``.

The gateway runs with one worker and with several, on the same cores. Only where the clients and the upstream run on
other cores does the ratio of requests/s say what workers carry; the CPU for a request says it nearly everywhere.
"""

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bodies import agent_request
from benchmarks.proxies import aibridge
from benchmarks.report import aligned
from benchmarks.traffic import Load, clients, upstream
from benchmarks.workloads import SMALL_BODY, Figures, median

CONNECTIONS = 32
"""For each worker, so that each has as many requests to commit together."""


def main() -> None:
    options = _options()
    numbers = [1, options.workers]
    runs: dict[int, list[Figures]] = {number: [] for number in numbers}
    for _ in range(options.runs):
        for number in numbers:  # they take turns, so that other load on the machine affects both
            runs[number].append(measure(number, options))
    results = {number: median(figures) for number, figures in runs.items()}
    columns = ("requests_per_second", "cpu_us_per_request", "latency_p50_us", "latency_p99_us", "failed")
    rows = [["workers", *columns]]
    rows += [[str(number), *(f"{figures[name]:,.0f}" for name in columns)] for number, figures in results.items()]
    one, several = results.values()
    print("\n".join(aligned(rows)))
    print(f"requests/s: {several['requests_per_second'] / one['requests_per_second']:.2f} of one worker's")
    print(f"CPU for a request: {several['cpu_us_per_request'] / one['cpu_us_per_request']:.2f} of one worker's")


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.workers", description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="number of workers to compare with one (2)")
    parser.add_argument("--runs", type=int, default=3, help="number of runs; their median is shown (3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of a run (5)")
    cores = f"0-{(os.cpu_count() or 1) - 1}"
    parser.add_argument("--cores", default=cores, help=f"cores of the gateway, as taskset knows them ({cores})")
    parser.add_argument("--database", default="sqlite:///bench.sqlite", help="URL of the records (a new SQLite file)")
    return parser.parse_args()


def measure(workers: int, options: Namespace) -> Figures:
    """Return the figures of one run."""
    body = agent_request(SMALL_BODY, streaming=False)
    with TemporaryDirectory(prefix="aibridge-bench-") as temporary:
        directory = Path(temporary)
        settings = {"database": options.database, "options": ["--workers", str(workers)], "cores": options.cores}
        with upstream(0, 0.0, directory) as provider, aibridge(provider, directory, **settings) as proxy:
            for seconds in (options.seconds / 5, options.seconds):  # the first to fill caches and pools
                before = proxy.process.cpu_seconds()
                load = Load(CONNECTIONS * workers, body, provider.blocking, seconds=seconds)
                with clients(load, proxy.port, proxy.path, directory) as running:
                    figures = running.figures()
                used = proxy.process.cpu_seconds() - before
    del figures["first_failure"]
    return {**figures, "cpu_us_per_request": used / figures["whole"] * 1e6}


if __name__ == "__main__":
    main()
