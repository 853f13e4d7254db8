"""Figures as a table: a line for each proxy, then the gateway's ratio to each of the others."""

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from benchmarks.workloads import WORKLOADS, Figures, median

GATEWAY = "aibridge"


@frozen
class Measured:
    """The runs of one workload with one proxy."""

    runs: Sequence[Figures]

    @property
    def median(self) -> Figures:
        """The median of each figure."""
        return median(self.runs)

    def range(self, figure: str) -> tuple[float, float]:
        """Return the least and the greatest value of a figure."""
        values = [run[figure] for run in self.runs]
        return min(values), max(values)


Results = Mapping[str, Mapping[str, Measured]]
"""The runs by workload and proxy."""


@frozen
class Column:
    """A column of the table."""

    title: str
    figure: str
    digits: int = 0
    scale: float = 1.0

    def text(self, value: float) -> str:
        return f"{value * self.scale:,.{self.digits}f}"

    def cell(self, measured: "Measured", key: str) -> str:
        """Return the median, and the range of the figure that the target is about."""
        text = self.text(measured.median[self.figure])
        if self.figure != key or len(measured.runs) < 2:
            return text
        return f"{text} ({'-'.join(map(self.text, measured.range(key)))})"


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
STALLED = (Column("growth MB", "growth_mb", 1), *CHECKED)
COLUMNS = {
    "small": BLOCKING,
    "lone": BLOCKING,
    "large": BLOCKING,
    "streams": STREAMS,
    "tls": STREAMS,
    "burst": (*FIRST_BYTE, *CHECKED),
    "memory": MEMORY,
    "stalled": STALLED,
}


def ratios(results: Results) -> dict[str, dict[str, Figures]]:
    """Return the gateway's figures divided by each other proxy's, by workload and name of the other proxy."""
    return {
        workload: {
            other: _ratio(measured[GATEWAY].median, measured[other].median) for other in measured if other != GATEWAY
        }
        for workload, measured in results.items()
        if GATEWAY in measured
    }


def table(results: Results) -> str:
    """Return the figures and ratios of all workloads as text."""
    compared = ratios(results)
    sections = []
    for name, measured in results.items():
        workload, rows = WORKLOADS[name], cells(name, measured, compared.get(name, {}))
        sections.append("\n".join([workload.title, *aligned(rows), f"target: {workload.target}"]))
    return "\n\n".join(sections)


def _ratio(figures: Figures, others: Figures) -> Figures:
    return {name: figures[name] / others[name] for name in figures if others.get(name)}


def cells(name: str, measured: Mapping[str, Measured], compared: Mapping[str, Figures]) -> list[list[str]]:
    """Return the table of one workload: the titles, a row for each proxy, and one for each comparison."""
    columns, key = COLUMNS[name], WORKLOADS[name].key
    rows = [["", *(column.title for column in columns)]]
    rows += [[proxy, *(column.cell(each, key) for column in columns)] for proxy, each in measured.items()]
    return rows + [[f"of {other}", *_multiples(columns, figures)] for other, figures in compared.items()]


def _multiples(columns: Iterable[Column], ratio: Figures) -> list[str]:
    return ["" if column in CHECKED else f"{ratio.get(column.figure, 0):.2f}" for column in columns]


def aligned(rows: list[list[str]]) -> list[str]:
    """Return the rows as lines with right-aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.rjust, row, widths)).rstrip() for row in rows]
