"""Count the instructions of a small request and of a streamed event, which busy cores don't change.

``python -m benchmarks.instructions`` runs the gateway and the bare aiohttp proxy under valgrind, with few and with many
requests: the difference is what one request costs. It takes about ten minutes.
"""

import re
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

from benchmarks import processes, proxies
from benchmarks.bodies import agent_request
from benchmarks.processes import Process
from benchmarks.report import aligned
from benchmarks.traffic import Load, Upstream, clients, upstream
from benchmarks.workloads import SMALL_BODY

VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
WARM_UP = 64
DELTAS = 95
"""Events of text in a stream; five others come with them."""
EVENTS = DELTAS + 5
FEW, MANY = 200, 600
FEW_STREAMS, MANY_STREAMS = 20, 60
SLOWER = 20
"""Programs take so many times as long under valgrind."""


def main() -> None:
    """Print a table of all counts."""
    parser = ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--connections", type=int, default=32, help="of the small requests (32)")
    options = parser.parse_args()
    if which("valgrind") is None:
        sys.exit("valgrind is not installed")
    rows = [["thousands of instructions", "a small request", "a lone request", "an event"]]
    for name in ("aibridge", "aiohttp"):
        if reason := proxies.why_not(name):
            print(f"{name} can't run: {reason}", file=sys.stderr)
            continue
        small, lone = (_each(name, (FEW, MANY), count, streaming=False) for count in (options.connections, 1))
        stream = _each(name, (FEW_STREAMS, MANY_STREAMS), FEW_STREAMS, streaming=True)
        rows.append([name, f"{small / 1e3:,.0f}", f"{lone / 1e3:,.0f}", f"{stream / EVENTS / 1e3:,.1f}"])
    print("\n".join(aligned(rows)))


def _each(name: str, counts: tuple[int, int], connections: int, *, streaming: bool) -> float:
    """Return the instructions of one request: the difference of two runs, divided by that of their requests."""
    few, many = (_run(name, count, connections, streaming) for count in counts)
    return (many - few) / (counts[1] - counts[0])


def _run(name: str, count: int, connections: int, streaming: bool) -> int:
    """Return the instructions of a proxy's whole life with so many requests."""
    with TemporaryDirectory(prefix="aibridge-bench-") as temporary:
        directory = Path(temporary)
        print(f"{name}: {count} {'streams' if streaming else 'requests'}", file=sys.stderr)
        with upstream(DELTAS, 0.05, directory) as provider, _under_valgrind(name, provider, directory) as proxy:
            body = agent_request(SMALL_BODY, streaming=streaming)
            expected = provider.streaming if streaming else provider.blocking
            for requests in (WARM_UP, count):
                load = Load(min(connections, requests), body, expected, requests=requests, seconds=600)
                with clients(load, proxy.port, proxy.path, directory) as running:
                    if running.figures()["exact"] != requests:
                        raise RuntimeError("Some responses were not exact.")
        logs = "".join(path.read_text(errors="replace") for path in directory.glob("*.log"))
        return int(re.findall(r"I\s+refs:\s+([\d,]+)", logs)[-1].replace(",", ""))


@contextmanager
def _under_valgrind(name: str, provider: Upstream, directory: Path) -> Iterator[proxies.Proxy]:
    """Run a proxy under valgrind, with more time to start and to stop."""

    @contextmanager
    def slow(command: Sequence[str | Path], core: int, where: Path) -> Iterator[Process]:
        with usual([*VALGRIND, *command], core, where) as process:
            yield process

    usual, times = proxies.started, (processes.SECONDS_TO_START, processes.SECONDS_TO_STOP)
    processes.SECONDS_TO_START, processes.SECONDS_TO_STOP = (each * SLOWER for each in times)
    # Valgrind runs Python itself, and not the script that starts it.
    proxies.started = slow
    twistd = [sys.executable, Path(sys.executable).with_name("twistd"), "--nodaemon", "--pidfile=", "aibridge"]
    make = partial(proxies.aibridge, command=twistd) if name == "aibridge" else proxies.PROXIES[name]
    try:
        with make(provider, directory) as proxy:
            yield proxy
    finally:
        proxies.started = usual
        processes.SECONDS_TO_START, processes.SECONDS_TO_STOP = times


if __name__ == "__main__":
    main()
