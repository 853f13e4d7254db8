"""Measure the cost of recording, for each database against none, and for a long history against an empty database."""

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from attrs import asdict
from twisted.internet.defer import Deferred

from aibridge.record import migrations
from aibridge.record.database import open_engine
from benchmarks.proxies import PROXY_CORE
from benchmarks.recording import history, inserts, modes
from benchmarks.recording.servers import postgresql
from benchmarks.report import aligned

PARTS = ("modes", "history")
SECONDS = 10.0
QUICK_SECONDS = 3.0

Document = dict[str, Any]


def main() -> None:
    options = _options()
    os.sched_setaffinity(0, {PROXY_CORE})
    from twisted.internet.task import react  # imported late: it installs the reactor

    react(lambda reactor: Deferred.fromCoroutine(_measure(options, reactor)))


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.recording", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="measure only this part")
    parser.add_argument(
        "--rows", type=int, default=10_000_000, help="number of interceptions in the history (10,000,000)"
    )
    parser.add_argument(
        "--runs", type=int, default=3, help="number of runs of each mode; the table shows their median (3)"
    )
    parser.add_argument("--quick", action="store_true", help="one short run of each: a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file, as JSON")
    return parser.parse_args()


async def _measure(options: Namespace, reactor: Any) -> None:
    seconds, runs = (QUICK_SECONDS, 1) if options.quick else (SECONDS, options.runs)
    document: Document = {}
    if options.only != "history":
        document["modes"] = modes.compare(seconds, runs)
        print("\n".join(aligned(_modes(document["modes"]))), end="\n\n")
    if options.only != "modes":
        document["history"] = await _history(options.rows, seconds, reactor)
        print("\n".join([*aligned(_queries(document["history"])), "", *aligned(_inserts(document["history"]))]))
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n")


async def _history(rows: int, seconds: float, reactor: Any) -> Document:
    """Measure inserts before and after the history is made, and the queries in between."""
    with postgresql() as url:
        migrations.upgrade(url)
        engine = open_engine(url)
        empty = await inserts.measure(url, seconds, reactor)
        print(f"making {rows:,} interceptions", file=sys.stderr)
        history.fill(engine, rows)
        timings = {title: asdict(timing) for title, timing in history.run_queries(engine, rows)}
        full = await inserts.measure(url, seconds, reactor)
        engine.dispose()
    return {"rows": rows, "queries": timings, "empty": asdict(empty), "full": asdict(full)}


def _modes(figures: modes.Modes) -> list[list[str]]:
    nowhere = figures[modes.NOWHERE]
    titles = [
        "recorded in",
        "requests/s",
        "of nowhere",
        "CPU µs/request",
        "P50 ms",
        "P99 ms",
        "lone P50 ms",
        "added ms",
    ]
    lines = [titles]
    for mode, measured in figures.items():
        share = measured["requests_per_second"] / nowhere["requests_per_second"]
        lone = measured["lone_latency_p50_us"] / 1000
        added = lone - nowhere["lone_latency_p50_us"] / 1000
        busy = [
            f"{measured['cpu_us_per_request']:.0f}",
            *(f"{measured[f'latency_p{n}_us'] / 1000:.1f}" for n in (50, 99)),
        ]
        lines.append(
            [mode, f"{measured['requests_per_second']:,.0f}", f"{share:.2f}", *busy, f"{lone:.2f}", f"{added:.2f}"]
        )
    return lines


def _queries(found: Document) -> list[list[str]]:
    lines = [[f"of {found['rows']:,} interceptions", "P50 ms", "longest ms", "rows"]]
    for title, timing in found["queries"].items():
        times = [f"{1000 * seconds:.1f}" for seconds in (timing["median"], timing["longest"])]
        lines.append([title, *times, str(timing["rows"])])
    return lines


def _inserts(found: Document) -> list[list[str]]:
    lines = [["inserted into tables that are", "exchanges/s", "lone P50 ms"]]
    for where in ("empty", "full"):
        lines.append([where, f"{found[where]['per_second']:,.0f}", f"{1000 * found[where]['lone']:.2f}"])
    return lines


if __name__ == "__main__":
    main()
