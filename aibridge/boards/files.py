"""The files of Grafana and Prometheus, by their paths below one folder."""

import json

from .boards import all_boards
from .panels import METRICS, SQL

_FOLDER = "grafana/provisioning"
_PLACE = "/etc/grafana/provisioning/dashboards/aibridge"

_SOURCES = f"""\
# Grafana's data sources. Set the variables in Grafana's environment.
apiVersion: 1
datasources:
  - name: aibridge records
    uid: {SQL["uid"]}
    type: {SQL["type"]}
    access: proxy
    url: ${{AIBRIDGE_DATABASE_HOST}}
    user: ${{AIBRIDGE_DATABASE_USER}}
    secureJsonData:
      password: ${{AIBRIDGE_DATABASE_PASSWORD}}
    jsonData:
      database: ${{AIBRIDGE_DATABASE_NAME}}
      sslmode: ${{AIBRIDGE_DATABASE_SSLMODE}}
  - name: aibridge metrics
    uid: {METRICS["uid"]}
    type: {METRICS["type"]}
    access: proxy
    url: ${{AIBRIDGE_PROMETHEUS_URL}}
"""

_PROVIDER = f"""\
apiVersion: 1
providers:
  - name: aibridge
    folder: aibridge
    type: file
    allowUiUpdates: false
    options:
      path: {_PLACE}
"""

_RULES = """\
# Alert rules of Prometheus; name this file under rule_files.
groups:
  - name: aibridge
    rules:
      - alert: AibridgeSpoolFilling
        expr: sum by (instance) (recorder_spooled_rows) > 0
        for: 5m
        labels: {severity: warning}
        annotations:
          summary: The database is away; records wait on local disk.
          description: "{{ $value }} rows of {{ $labels.instance }} wait. Past spool_max_bytes requests get 503."
      - alert: AibridgeRefusals
        expr: sum by (instance) (rate(refusals_total{status="503"}[5m])) > 0
        for: 2m
        labels: {severity: critical}
        annotations:
          summary: The gateway refuses requests.
          description: "{{ $labels.instance }} answers 503: see its /readyz."
      - alert: AibridgeErrors
        expr: |
          sum by (provider) (rate(interceptions_total{status=~"failed|interrupted"}[10m]))
            / sum by (provider) (rate(interceptions_total[10m])) > 0.1
        for: 10m
        labels: {severity: warning}
        annotations:
          summary: More than a tenth of the requests fail.
          description: "{{ $value | humanizePercentage }} of the requests to {{ $labels.provider }} fail."
      - alert: AibridgeBudgetNearCap
        expr: max by (scope, name) (budget_used_ratio) > 0.9
        labels: {severity: warning}
        annotations:
          summary: A budget is nearly spent.
          description: "{{ $value | humanizePercentage }} of that of {{ $labels.scope }} {{ $labels.name }} is spent."
      - alert: AibridgeMcpServerDown
        expr: min by (server) (mcp_server_up) == 0
        for: 5m
        labels: {severity: warning}
        annotations:
          summary: An MCP server is down.
          description: "Tools of {{ $labels.server }} are missing until it is back."
      - alert: AibridgeDown
        expr: up{job="aibridge"} == 0
        for: 1m
        labels: {severity: critical}
        annotations:
          summary: A gateway does not answer Prometheus.
          description: "{{ $labels.instance }} is down."
"""


def make_files() -> dict[str, str]:
    """Return the content of each file by its path."""
    files = {
        f"{_FOLDER}/datasources/aibridge.yaml": _SOURCES,
        f"{_FOLDER}/dashboards/aibridge.yaml": _PROVIDER,
        "prometheus/aibridge.rules.yml": _RULES,
    }
    for name, board in all_boards().items():
        files[f"{_FOLDER}/dashboards/aibridge/{name}"] = json.dumps(board, indent=2) + "\n"
    return files
