"""The manual's page of figures: a dated table, and a plot of the gateway's ratios."""

import platform
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pygal

from aibridge import __version__
from benchmarks.report import GATEWAY, Results, cells, ratios
from benchmarks.workloads import WORKLOADS

_COLUMNS = 100
"""The longest line of text in the manual."""
_HIGHER_IS_BETTER = ("requests_per_second",)


def write_page(results: Results, page: Path) -> None:
    """Write the page, and beside it the plot with the same name."""
    plot = page.with_suffix(".svg")
    plot.write_text(_plot(results))
    page.write_text(_text(results, plot.name))


def _text(results: Results, plot: str) -> str:
    compared = ratios(results)
    parts = [
        "# Figures",
        textwrap.fill(
            f"Measured on {datetime.now(UTC):%Y-%m-%d} with aibridge {__version__}, {platform.python_implementation()} "
            f"{platform.python_version()}, two cores of a shared machine. Read the ratios; "
            "[Benchmarks](benchmarks.md) says what is measured and how. In parentheses stands the range of the runs.",
            _COLUMNS,
        ),
        f"![The cost of the gateway, as a multiple of nginx and of aiohttp]({plot})",
    ]
    for name, measured in results.items():
        workload = WORKLOADS[name]
        titles, *rows = cells(name, measured, compared.get(name, {}))
        lines = [titles, ["---"] * len(titles), *rows]
        table = "\n".join(f"| {' | '.join(row)} |" for row in lines)
        parts += [
            f"## {workload.title[0].upper()}{workload.title[1:]}",
            table,
            textwrap.fill(f"Target: {workload.target}.", _COLUMNS),
        ]
    return "\n\n".join(parts) + "\n"


def _plot(results: Results) -> str:
    """Return the cost of each workload, as a multiple of that of the other proxies: less is better."""
    compared = ratios(results)
    chart = pygal.HorizontalBar(
        js=[], title="Cost, as a multiple (less is better)", width=900, height=520, disable_xml_declaration=True
    )
    chart.x_labels = list(compared)
    for other in sorted({other for each in results.values() for other in each} - {GATEWAY}):
        chart.add(f"of {other}", [_cost(name, compared[name].get(other, {})) for name in compared])
    return str(chart.render(is_unicode=True))


def _cost(name: str, figures: dict[str, float]) -> float | None:
    key = WORKLOADS[name].key
    ratio = figures.get(key)
    if not ratio:
        return None
    return round(1 / ratio if key in _HIGHER_IS_BETTER else ratio, 2)
