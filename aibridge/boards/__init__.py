"""Boards for Grafana and alert rules for Prometheus. The command ``aibridge grafana`` writes them."""
