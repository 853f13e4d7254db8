"""Figures as a table: a line for each proxy, then the gateway's ratio to each of the others."""

from collections.abc import Iterable, Mapping

from attrs import frozen

from benchmarks.workloads import WORKLOADS, Figures

GATEWAY = "aibridge"
Results = Mapping[str, Mapping[str, Figures]]
"""Figures by workload and proxy."""


@frozen
class Column:
    """A column of the table."""

    title: str
    figure: str
    digits: int = 0
    scale: float = 1.0

    def text(self, figures: Figures) -> str:
        return f"{figures[self.figure] * self.scale:,.{self.digits}f}"


FIRST_BYTE = (
    Column("1st event P50 ms", "first_byte_p50_us", 1, 1e-3),
    Column("P99 ms", "first_byte_p99_us", 1, 1e-3),
)
CHECKED = (Column("whole", "whole"), Column("exact", "exact"), Column("failed", "failed"))
BLOCKING = (
    Column("requests/s", "requests_per_second"),
    Column("CPU µs/request", "cpu_us_per_request"),
    Column("P50 ms", "latency_p50_us", 1, 1e-3),
    Column("P99 ms", "latency_p99_us", 1, 1e-3),
    *CHECKED,
)
STREAMS = (
    Column("events/s", "events_per_second"),
    Column("CPU µs/event", "cpu_us_per_event", 1),
    Column("core %", "core_percent"),
    *FIRST_BYTE,
    *CHECKED,
)
MEMORY = (Column("idle MB", "idle_mb", 1), Column("kB/stream", "kb_per_stream", 1), *FIRST_BYTE, *CHECKED)
COLUMNS = {"small": BLOCKING, "large": BLOCKING, "streams": STREAMS, "memory": MEMORY}


def ratios(results: Results) -> dict[str, dict[str, Figures]]:
    """Return the gateway's figures divided by each other proxy's, by workload and name of the other proxy."""
    return {
        workload: {other: _ratio(measured[GATEWAY], measured[other]) for other in measured if other != GATEWAY}
        for workload, measured in results.items()
        if GATEWAY in measured
    }


def table(results: Results) -> str:
    """Return the figures and ratios of all workloads as text."""
    compared = ratios(results)
    return "\n\n".join(_section(name, results[name], compared.get(name, {})) for name in results)


def _ratio(figures: Figures, others: Figures) -> Figures:
    return {name: figures[name] / others[name] for name in figures if others[name]}


def _section(workload: str, measured: Mapping[str, Figures], compared: Mapping[str, Figures]) -> str:
    columns = COLUMNS[workload]
    rows = [["", *(column.title for column in columns)]]
    rows += [[name, *(column.text(figures) for column in columns)] for name, figures in measured.items()]
    rows += [[f"of {other}", *_multiples(columns, figures)] for other, figures in compared.items()]
    description = WORKLOADS[workload]
    return "\n".join([description.title, *aligned(rows), f"target: {description.target}"])


def _multiples(columns: Iterable[Column], ratio: Figures) -> list[str]:
    return ["" if column in CHECKED else f"{ratio.get(column.figure, 0):.2f}" for column in columns]


def aligned(rows: list[list[str]]) -> list[str]:
    """Return the rows as lines with right-aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.rjust, row, widths)).rstrip() for row in rows]
