"""Measure the cost of watching the gateway: JSON logs, traces and dumps, each against a gateway without them."""

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

from benchmarks.proxies import aibridge
from benchmarks.report import aligned
from benchmarks.traffic import upstream
from benchmarks.workloads import EVENTS_AROUND_DELTAS, SMALL_BODY, Bench, Figures, blocking, median, streams

SECONDS = 10.0
QUICK_SECONDS = 4.0
INTERVAL = 0.03
_TRACES = '[otel]\nendpoint = "http://127.0.0.1:{collector}"\nsample_ratio = {ratio}\n'
MODES = {
    "nothing": "",
    "JSON log": '[log]\nformat = "json"\n',
    "traces, ratio 0": _TRACES.replace("{ratio}", "0.0"),
    "traces, ratio 0.1": _TRACES.replace("{ratio}", "0.1"),
    "traces, ratio 1": _TRACES.replace("{ratio}", "1.0"),
    "dumps": 'dump_dir = "dumps"\n',
}
"""What is added to the end of the configuration's file, which is the table of the provider."""


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.observing", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short run of each: a first look")
    parser.add_argument("--runs", type=int, default=3, help="number of runs; the table shows their median (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file, as JSON")
    options = parser.parse_args()
    seconds, runs = (QUICK_SECONDS, 1) if options.quick else (SECONDS, options.runs)
    measured: dict[str, list[Figures]] = {mode: [] for mode in MODES}
    for _ in range(runs):  # in turns, so that other load on the machine affects all of them
        for mode, figures in measured.items():
            figures.append(measure(MODES[mode], seconds))
    medians = {mode: median(figures) for mode, figures in measured.items()}
    print("\n".join(aligned(list(_rows(medians)))))
    if options.json:
        options.json.write_text(json.dumps(medians, indent=2) + "\n")


def measure(addition: str, seconds: float) -> Figures:
    """Return the CPU time of a small request and of an event in microseconds, and the rates."""
    with TemporaryDirectory(prefix="aibridge-bench-") as temporary, collecting() as collector:
        directory, more = Path(temporary), addition.format(collector=collector)
        with upstream(round(seconds / INTERVAL) - EVENTS_AROUND_DELTAS, INTERVAL, directory) as provider:
            start = partial(aibridge, provider, directory, addition=more)
            with start() as proxy:
                small = blocking(SMALL_BODY)(Bench(proxy, provider, directory), seconds)
            with start() as proxy:
                events = streams(Bench(proxy, provider, directory), seconds)
    names = ("cpu_us_per_request", "cpu_us_per_event")
    return {name: figures[name] for name, figures in zip(names, (small, events), strict=True)} | {
        "requests_per_second": small["whole"] / seconds,
        "incomplete_streams": events["failed"],
    }


class _Collector(BaseHTTPRequestHandler):
    """Takes spans, and forgets them."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def collecting() -> Iterator[int]:
    """Run a collector of traces, and yield its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def _rows(medians: dict[str, Figures]) -> Iterator[Sequence[str]]:
    usual = medians["nothing"]
    yield ("watched by", "CPU/request", "more", "CPU/event", "more", "requests/s", "incomplete streams")
    for mode, figures in medians.items():
        request, event = figures["cpu_us_per_request"], figures["cpu_us_per_event"]
        yield (
            mode,
            f"{request:.0f} µs",
            f"{request - usual['cpu_us_per_request']:+.0f} µs",
            f"{event:.1f} µs",
            f"{event - usual['cpu_us_per_event']:+.1f} µs",
            f"{figures['requests_per_second']:.0f}",
            f"{figures['incomplete_streams']:.0f}",
        )


if __name__ == "__main__":
    main()
