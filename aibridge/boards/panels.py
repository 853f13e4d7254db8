"""Panels of Grafana's boards, as JSON: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/"""

from collections.abc import Sequence
from typing import Any

from attrs import frozen

Json = dict[str, Any]

SQL = {"type": "grafana-postgresql-datasource", "uid": "aibridge-postgresql"}
METRICS = {"type": "prometheus", "uid": "aibridge-prometheus"}
"""The data sources, by the ids that their provisioning files give them."""

WIDTH = 24
"""Columns of a board."""


@frozen(kw_only=True)
class Panel:
    """A panel with its queries: in SQL over the views, or in PromQL."""

    title: str
    kind: str
    """Grafana's type of panel, such as ``timeseries``."""
    source: Json
    queries: Sequence[tuple[str, str]]
    """Legend and query of each; SQL has no legend."""
    unit: str = "short"
    width: int = 12
    height: int = 8
    stacked: bool = False

    def json(self, number: int, x: int, y: int) -> Json:
        """Return the panel at its place on the board."""
        custom: Json = {"fillOpacity": 30, "stacking": {"mode": "normal"}} if self.stacked else {}
        return {
            "id": number,
            "title": self.title,
            "type": self.kind,
            "datasource": self.source,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": {"unit": self.unit, "custom": custom}, "overrides": []},
            "options": {},
            "targets": [self._target(place, *query) for place, query in enumerate(self.queries)],
        }

    def _target(self, place: int, legend: str, query: str) -> Json:
        shared: Json = {"refId": chr(ord("A") + place), "datasource": self.source}
        if self.source is METRICS:
            return shared | {"expr": query, "legendFormat": legend}
        form = "time_series" if self.kind == "timeseries" else "table"
        return shared | {"rawSql": query, "rawQuery": True, "format": form, "editorMode": "code"}


def board(uid: str, title: str, panels: Sequence[Panel]) -> Json:
    """Return a board with its panels in rows."""
    placed: list[Json] = []
    x = y = tallest = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > WIDTH:
            x, y, tallest = 0, y + tallest, 0
        placed.append(panel.json(number, x, y))
        x, tallest = x + panel.width, max(tallest, panel.height)
    return {
        "uid": uid,
        "title": title,
        "tags": ["aibridge"],
        "timezone": "browser",
        "schemaVersion": 39,
        "time": {"from": "now-30d" if panels[0].source is SQL else "now-6h", "to": "now"},
        "refresh": "1m",
        "editable": True,
        "templating": {"list": []},
        "annotations": {"list": []},
        "panels": placed,
    }
