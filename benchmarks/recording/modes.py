"""The same requests through a gateway that records nothing, and with each database."""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.proxies import aibridge
from benchmarks.recording.servers import DATABASES
from benchmarks.traffic import upstream
from benchmarks.workloads import SMALL_BODY, Bench, Figures, blocking, median

NOWHERE = "nowhere"
_UNRECORDED = Path(__file__).with_name("unrecorded.py")


Modes = Mapping[str, Figures]
"""Figures by database. Those of a lone connection begin with ``lone_``."""


def compare(seconds: float, runs: int) -> Modes:
    """Return medians by mode. The modes take turns, so that other load on the machine affects all of them."""
    databases: dict[str, Callable[[], AbstractContextManager[str]]] = {NOWHERE: lambda: nullcontext("sqlite://")}
    measured: dict[str, list[Figures]] = {}
    for run in range(runs):
        for mode, database in (databases | DATABASES).items():
            print(f"recorded in {mode}, run {run + 1} of {runs}", file=sys.stderr)
            with database() as url:
                measured.setdefault(mode, []).append(_measure(mode, url, seconds))
    return {mode: median(figures) for mode, figures in measured.items()}


def _measure(mode: str, url: str, seconds: float) -> Figures:
    command = [sys.executable, _UNRECORDED] if mode == NOWHERE else []
    with TemporaryDirectory(prefix="aibridge-bench-") as temporary:
        directory = Path(temporary)
        with upstream(0, 0, directory) as provider, aibridge(provider, directory, url, command) as proxy:
            bench = Bench(proxy, provider, directory)
            busy = blocking(SMALL_BODY)(bench, seconds)
            lone = blocking(SMALL_BODY, connections=1)(bench, seconds)
    return busy | {f"lone_{name}": figure for name, figure in lone.items()}
