"""A plot of several series over the same time, one below the other, as SVG."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, GAP = 900, 120, 90, 50


def plot(minutes: Sequence[float], series: Mapping[str, Sequence[float]], title: str) -> str:
    """Return the picture. Each series has an axis of its own, from 0 to its greatest value."""
    height = GAP + len(series) * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>',
    ]
    for number, (name, values) in enumerate(series.items()):
        parts += _panel(name, minutes, values, GAP + number * (HEIGHT + GAP))
    return "\n".join([*parts, "</svg>", ""])


def _panel(name: str, minutes: Sequence[float], values: Sequence[float], top: float) -> Iterable[str]:
    highest, last = max(values, default=0) or 1, max(minutes, default=0) or 1
    right, bottom = WIDTH - 20, top + HEIGHT
    points = " ".join(
        f"{LEFT + (right - LEFT) * minute / last:.1f},{bottom - HEIGHT * value / highest:.1f}"
        for minute, value in zip(minutes, values, strict=True)
    )
    yield f'<text x="{LEFT}" y="{top - 6:.0f}">{escape(name)}</text>'
    yield f'<path d="M{LEFT},{top}V{bottom}H{right}" fill="none" stroke="#888"/>'
    yield f'<text x="{LEFT - 6}" y="{top + 10:.0f}" text-anchor="end">{highest:,.4g}</text>'
    yield f'<text x="{LEFT - 6}" y="{bottom:.0f}" text-anchor="end">0</text>'
    yield f'<text x="{right}" y="{bottom + 16:.0f}" text-anchor="end">{last:.0f} min</text>'
    yield f'<polyline points="{points}" fill="none" stroke="#2266aa" stroke-width="1.5"/>'
