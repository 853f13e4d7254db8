"""Measure the gateway beside other proxies on this machine, and print a table of ratios."""

import json
import os
import platform
import resource
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.page import write_page
from benchmarks.proxies import PROXIES, why_not
from benchmarks.report import GATEWAY, Measured, Results, ratios, table
from benchmarks.tools import install
from benchmarks.workloads import WORKLOADS, Figures, Workload

SECONDS = 10.0
QUICK_SECONDS = 4.0


def main() -> None:
    options = _options()
    if options.install:
        install()
    if (os.cpu_count() or 1) < 2:
        sys.exit("The benchmarks need two cores: one for the proxy, one for the traffic.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the started processes are ended
    _allow_many_files()
    results = _measure(options, _available([GATEWAY, *options.against]))
    print(table(results))
    if options.page:
        write_page(results, options.page)
    if options.json:
        options.json.write_text(json.dumps(_document(results), indent=2) + "\n")


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short run of each: a first look")
    parser.add_argument("--only", type=_names(WORKLOADS), default=list(WORKLOADS), help=",".join(WORKLOADS))
    parser.add_argument("--against", type=_names(PROXIES), default=["nginx", "aiohttp"], help="nginx,aiohttp")
    parser.add_argument("--runs", type=int, default=3, help="number of runs; the table shows their median (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write figures and ratios to this file, as JSON")
    parser.add_argument("--page", type=Path, metavar="FILE", help="also write the manual's page, and its plot")
    parser.add_argument("--install", action="store_true", help="install nginx, gcc and aiohttp if they are missing")
    return parser.parse_args()


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    """Return a parser of an option's value: known names, separated by commas."""

    def names(value: str) -> list[str]:
        if unknown := set(value.split(",")) - set(known):
            raise ArgumentTypeError(f"{unknown.pop()!r} is not one of {', '.join(known)}")
        return value.split(",")

    return names


def _available(names: list[str]) -> list[str]:
    """Return the proxies that can run here, and print why the others can't."""
    reasons = {name: why_not(name) for name in dict.fromkeys(names)}
    for name, reason in reasons.items():
        if reason:
            print(f"{name} can't run: {reason}", file=sys.stderr)
    return [name for name, reason in reasons.items() if not reason]


def _allow_many_files() -> None:
    """Raise the limit of open files, which the proxies inherit: 1,000 streams take two sockets each."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _measure(options: Namespace, proxies: list[str]) -> Results:
    seconds, runs = (QUICK_SECONDS, 1) if options.quick else (SECONDS, options.runs)
    return {name: _alternate(WORKLOADS[name], proxies, seconds, runs) for name in options.only}


def _alternate(workload: Workload, proxies: list[str], seconds: float, runs: int) -> dict[str, Measured]:
    """Return the runs by proxy. The proxies take turns, so that other load on the machine affects all of them."""
    measured: dict[str, list[Figures]] = {proxy: [] for proxy in proxies}
    for run in range(runs):
        for proxy in proxies:
            print(f"{workload.title}: {proxy}, run {run + 1} of {runs}", file=sys.stderr)
            with _report_failure(proxy):
                measured[proxy].append(workload.measure(proxy, seconds))
    return {proxy: Measured(figures) for proxy, figures in measured.items() if figures}


@contextmanager
def _report_failure(proxy: str) -> Iterator[None]:
    """Print why a run failed, and go on with the next one."""
    try:
        yield
    except RuntimeError as failure:
        print(f"{proxy} failed in this run: {failure}", file=sys.stderr)


def _document(results: Results) -> dict[str, object]:
    machine = {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}
    targets = {name: WORKLOADS[name].target for name in results}
    figures = {name: {proxy: each.runs for proxy, each in measured.items()} for name, measured in results.items()}
    return {"machine": machine, "targets": targets, "runs": figures, "ratios": ratios(results)}


if __name__ == "__main__":
    main()
