"""Charts as SVG, drawn on the server by pygal: https://www.pygal.org

The page's style sheet has their colours, so that they follow its scheme, and no chart brings a script or a style.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor, log10
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

MOST_SERIES = 7
"""Series of one chart; the rest is one more series. The style sheet has a colour for each."""
OTHERS = "others"

_SIZE = (960, 240)
_DROPPED = ("style", "script", "desc")
_UNUSED_GROUPS = ("tooltip", "text-overlay", "titles")


def largest(series: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Return the largest series, the largest first, and the sum of the rest."""
    ranked = sorted(series, key=lambda name: -sum(series[name]))
    kept = {name: [*series[name]] for name in ranked[:MOST_SERIES]}
    if rest := ranked[MOST_SERIES:]:
        kept[OTHERS] = [sum(values) for values in zip(*(series[name] for name in rest), strict=True)]
    return kept


def scale(most: float) -> list[float]:
    """Return the marks of an axis from 0 to a value: four to nine round numbers, the last at or above it."""
    if most <= 0:
        return [0.0, 1.0]
    power = 10.0 ** floor(log10(most))
    step = next(factor * power for factor in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0) if most / (factor * power) <= 5)
    return [number * step for number in range(ceil(most / step) + 1)]


def stacked_bars(
    title: str, labels: Sequence[str], series: Mapping[str, Sequence[float]], text_of: Callable[[float], str]
) -> Markup:
    """Return a bar for each label, of parts one on another: one of each series. `title` says it to who can't see it."""
    import pygal  # takes a tenth of a second, and only pages with charts need it

    chart = pygal.StackedBar(
        width=_SIZE[0],
        height=_SIZE[1],
        js=[],
        show_legend=False,
        margin=0,
        margin_bottom=18,
        margin_top=6,
        spacing=4,
        rounded_bars=2,
        show_minor_x_labels=False,
        value_formatter=text_of,
        truncate_label=-1,
    )
    chart.x_labels = labels
    tallest = max((sum(values) for values in zip(*series.values(), strict=True)), default=0.0)
    chart.y_labels = scale(tallest)
    chart.x_labels_major = labels[:: max(1, len(labels) // 6)]
    for name, values in series.items():
        chart.add(name, [value or None for value in values])
    return _embedded(chart.render_tree(), title, [*series])


def _embedded(tree: Element, title: str, names: Sequence[str]) -> Markup:
    """Return a chart's tree without what a page does not need, and with a tool tip for each part."""
    for key in ("id", "style"):
        tree.attrib.pop(key, None)
    tree.attrib.update({"role": "img", "aria-label": title, "class": "chart"})
    for number, name in enumerate(names):
        groups = [each for each in tree.iter() if f"serie-{number}" in _class_of(each).split()]
        for bar in [each for group in groups for each in group.iter() if _class_of(each) == "bar"]:
            texts = {_class_of(part): part.text or "" for part in bar}
            tip = SubElement(bar, "title")
            tip.text = f"{texts.get('x_label', '')} · {name} · {texts.get('value', '')}"
    _prune(tree)
    return Markup(tostring(tree, encoding="unicode"))  # noqa: S704 - the tree escapes every text


def _class_of(element: Element) -> str:
    return element.attrib.get("class", "")


def _prune(element: Any) -> None:
    """Remove comments, styles, scripts, and groups that only pygal's script fills."""
    for child in [*element]:
        name = child.tag.rpartition("}")[2] if isinstance(child.tag, str) else "comment"
        if child.text == "Pygal":
            child.text = element.attrib["aria-label"]
        unused = set(_class_of(child).split()) & {*_UNUSED_GROUPS} if name == "g" else ()
        if name in ("comment", *_DROPPED) or unused:
            element.remove(child)
        else:
            _prune(child)
