"""Boards, data sources and alert rules."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from aibridge.boards.files import make_files
from aibridge.boards.panels import METRICS, SQL
from aibridge.commands.demo_records import make_month
from aibridge.metrics import Metrics, ServerStates
from aibridge.record.rollups import Rollups
from aibridge.record.values import utc_now

from ..insight.records import WithRecords
from ..record.postgresql import OnPostgreSQL

FILES = make_files()
BOARDS = {name: json.loads(content) for name, content in FILES.items() if name.endswith(".json")}


class FileTests(SynchronousTestCase):
    """The files as such."""

    def test_sources(self) -> None:
        """Panels name data sources by the ids that these are given."""
        [sources] = [yaml.safe_load(content) for name, content in FILES.items() if "datasources" in name]
        uids = {source["uid"] for source in sources["datasources"]}
        self.assertEqual(uids, {SQL["uid"], METRICS["uid"]})
        self.assertEqual(
            {board["title"].split()[-1] for board in BOARDS.values()}, {"Overview", "People", "Reliability"}
        )
        for board in BOARDS.values():
            for panel in board["panels"]:
                self.assertIn(panel["datasource"]["uid"], uids)

    def test_places(self) -> None:
        """Panels do not overlap."""
        for board in BOARDS.values():
            taken: set[tuple[int, int]] = set()
            for panel in board["panels"]:
                place = panel["gridPos"]
                cells = {
                    (x, y)
                    for x in range(place["x"], place["x"] + place["w"])
                    for y in range(place["y"], place["y"] + place["h"])
                }
                self.assertFalse(cells & taken, panel["title"])
                taken |= cells

    def test_metrics(self) -> None:
        """Every metric that a board or a rule asks for is one of the gateway's."""
        registry = CollectorRegistry()
        Metrics(registry)
        ServerStates(registry, dict)
        known = {name for collector in registry._collector_to_names.values() for name in collector} | {"up"}
        queries = [
            target["expr"]
            for board in BOARDS.values()
            for panel in board["panels"]
            for target in panel["targets"]
            if "expr" in target
        ]
        rules = yaml.safe_load(FILES["prometheus/aibridge.rules.yml"])["groups"][0]["rules"]
        for query in [*queries, *(rule["expr"] for rule in rules)]:
            names = re.findall(r"[a-z_]{2,}(?=[{\[]| >| ==|\)(?! \())", re.sub(r"by \([^)]*\)", "", query))
            self.assertTrue({*names} <= known, (query, names))
            self.assertTrue(names, query)

    def test_rules(self) -> None:
        """Prometheus' own tool accepts the alert rules."""
        if shutil.which("promtool") is None:
            raise SkipTest("promtool is not installed")
        path = Path(self.mktemp())
        path.write_text(FILES["prometheus/aibridge.rules.yml"])
        done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class QueryTests(WithRecords, OnPostgreSQL):
    """The boards' SQL against a filled database."""

    def test_queries(self) -> None:
        """Every query runs, and finds something."""
        encoder = self.store.encoder(None)
        sessions = [*make_month(utc_now())]
        self.store.commit([encoder(record) for records in sessions[-60:] for record in records], is_fresh=False)
        with self.store.transaction() as connection:
            connection.exec_driver_sql(
                "UPDATE aibridge_token_usages SET cost_nanousd = NULL WHERE served_model = 'gpt-5.6'"
            )
        rollups = Rollups(self.url)
        list(rollups.run())
        rollups.close()
        connection = self.connect()
        for board in BOARDS.values():
            for panel in board["panels"]:
                for target in panel["targets"]:
                    if "rawSql" in target:
                        span = r"\1 BETWEEN now() - interval '30 days' AND now()"
                        query = re.sub(r"\$__timeFilter\(([^)]*)\)", span, target["rawSql"])
                        self.assertTrue(connection.execute(text(query.replace(":", r"\:"))).all(), panel["title"])
