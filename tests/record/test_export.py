"""Interceptions with their rows, as lines."""

import csv
import json
from datetime import timedelta
from typing import Any

from attrs import evolve
from sqlalchemy import event

from aibridge.errors import RecordingError
from aibridge.record import export as module
from aibridge.record.export import FORMATS, Selection, export
from aibridge.record.records import Record
from aibridge.record.store import Store

from .databases import OnSQLite
from .postgresql import OnPostgreSQL
from .samples import NOON, ended, exchange, interception, prompt, thought, token_usage, tool_usage

HOUR = timedelta(hours=1)
EVERYTHING = Selection(until=NOON + 1000 * HOUR)


class ExportTests:
    """Tests for every database. Give them ``self.url``."""

    url: str

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        self.store = Store(self.url)
        self.addCleanup(self.store.close)  # type: ignore[attr-defined]
        self.store.open()

    def keep(self, *values: Record) -> None:
        encoder = self.store.encoder(None)
        assert not self.store.commit([encoder(value) for value in values])

    def objects(self, selection: Selection = EVERYTHING) -> list[dict[str, Any]]:
        return [json.loads(line) for line in export(self.url, selection, FORMATS["jsonl"])]

    def table(self) -> list[dict[str, str]]:
        return list(csv.DictReader(line + "\n" for line in export(self.url, EVERYTHING, FORMATS["csv"])))

    def hours(self, selection: Selection) -> list[int]:
        """Return how long after noon the exported interceptions began."""
        return [int(line["started_at"][11:13]) - 12 for line in self.objects(selection)]

    def test_json(self) -> None:
        """Everything that is recorded of an interception is exported, each row in its place."""
        begun, used, asked, called, thinking, over = exchange()
        self.keep(begun, used, asked, called, thinking, over)
        (line,) = self.objects()
        assert line == {
            "id": str(begun.id),
            "initiator_id": "alice",
            "provider": "anthropic",
            "provider_name": "anthropic",
            "model": "claude-sonnet-4-5",
            "client": "Claude Code",
            "client_session_id": "session",
            "user_agent": "claude-cli/2.0",
            "correlating_tool_call_id": "toolu_1",
            "credential_kind": "byok",
            "credential_hint": "sk-a…xy",
            "streaming": True,
            "started_at": "2026-01-31T12:00:00.123456Z",
            "ended_at": "2026-01-31T12:00:02.123456Z",
            "status": "completed",
            "http_status": 200,
            "error": None,
            "upstream_requests": 1,
            "metadata": {"team": "core"},
            "first_byte_ms": 250.0,
            "token_usages": [
                {
                    "id": str(used.id),
                    "provider_response_id": "msg_1",
                    "served_model": "claude-sonnet-4-5-20250929",
                    "service_tier": "priority",
                    "speed": None,
                    "inference_geo": None,
                    "input_tokens": 11,
                    "output_tokens": 7,
                    "cache_read_input_tokens": 5,
                    "cache_write_input_tokens": 3,
                    "cost_nanousd": 1_234_567_890_123,
                    "price_version": "table 1",
                    "metadata": {"complete": True, "reasoning_tokens": 2},
                    "created_at": "2026-01-31T12:00:01.123456Z",
                }
            ],
            "user_prompts": [
                {
                    "id": str(asked.id),
                    "provider_response_id": "msg_1",
                    "prompt": "Grüße 👋",
                    "metadata": {},
                    "created_at": "2026-01-31T12:00:01.123456Z",
                }
            ],
            "tool_usages": [
                {
                    "id": str(called.id),
                    "provider_response_id": "msg_1",
                    "tool_call_id": "toolu_1",
                    "server_url": "https://mcp.example/mcp",
                    "tool": "ask",
                    "input": {"question": ["why", 1, None, True, 0.5]},
                    "injected": True,
                    "invocation_error": "it broke",
                    "output": "text",
                    "duration_ms": 12.5,
                    "metadata": {},
                    "created_at": "2026-01-31T12:00:01.123456Z",
                }
            ],
            "model_thoughts": [
                {
                    "id": str(thinking.id),
                    "content": "hm",
                    "metadata": {"source": "thinking"},
                    "created_at": "2026-01-31T12:00:01.123456Z",
                }
            ],
        }

    def test_rows_in_order(self) -> None:
        """The rows of an interception come in the order of time; one without any has empty lists."""
        begun, empty = interception(), interception(started_at=NOON + HOUR)
        asked = [prompt(begun.id, prompt=str(n), created_at=NOON + n * HOUR) for n in (2, 0, 1)]
        self.keep(begun, empty, *asked)
        first, second = self.objects()
        assert [row["prompt"] for row in first["user_prompts"]] == ["0", "1", "2"]
        assert (second["status"], second["token_usages"], second["ended_at"]) == ("in_progress", [], None)

    def test_table(self) -> None:
        """A line an interception: its own columns, the sums of its tokens and the numbers of its rows."""
        begun, idle = interception(), interception(started_at=NOON + HOUR, streaming=False)
        usages = [token_usage(begun.id, output_tokens=figure, cost_nanousd=figure) for figure in (2**40, 1)]
        self.keep(begun, *usages, prompt(begun.id), thought(begun.id), idle)
        self.keep(ended(begun.id, error='say "no",\nthen go'))
        first, second = self.table()
        assert (first["output_tokens"], first["input_tokens"]) == (str(2**40 + 1), "22")
        assert first["cost_nanousd"] == str(2**40 + 1)
        numbers = [first[name] for name in ("token_usages", "user_prompts", "tool_usages", "model_thoughts")]
        assert numbers == ["2", "1", "0", "1"]
        assert first["error"] == 'say "no",\nthen go'
        assert (first["metadata"], first["streaming"], first["started_at"]) == (
            '{"team":"core"}',
            "true",
            "2026-01-31T12:00:00.123456Z",
        )
        assert (second["output_tokens"], second["tool_usages"], second["ended_at"]) == ("0", "0", "")

    def test_unknown_cost(self) -> None:
        """A cost that is not known is an empty cell, not 0."""
        begun = interception()
        self.keep(begun, token_usage(begun.id, cost_nanousd=None, price_version=None))
        assert [row["cost_nanousd"] for row in self.table()] == [""]

    def test_empty(self) -> None:
        """Without interceptions there are no lines, but for a table's head."""
        assert self.objects() == []
        (head,) = export(self.url, EVERYTHING, FORMATS["csv"])
        assert head.startswith("id,initiator_id,provider,")

    def test_selection(self) -> None:
        """A span has its beginning in it and its end not; an actor's are only his."""
        for hours in (3, 0, 2, 1):
            self.keep(interception(started_at=NOON + hours * HOUR, initiator_id="alice" if hours % 2 else "bob"))
        span = Selection(since=NOON + HOUR, until=NOON + 3 * HOUR)
        assert self.hours(EVERYTHING) == [0, 1, 2, 3]
        assert self.hours(span) == [1, 2]
        assert self.hours(evolve(span, actor="alice")) == [1]
        assert self.hours(evolve(EVERYTHING, actor="carol")) == []

    def test_long_actor(self) -> None:
        """An actor whose name was too long to be kept whole is found by it all the same."""
        self.keep(interception(initiator_id="a" * 3000))
        assert self.hours(evolve(EVERYTHING, actor="a" * 3000)) == [0]

    def test_pages(self) -> None:
        """Each interception comes once, however many there are and however many began at the same moment."""
        self.patch(module, "PAGE_ROWS", 3)  # type: ignore[attr-defined]
        begun = [interception(started_at=NOON + n // 5 * HOUR) for n in range(20)]
        self.keep(*begun, *[token_usage(one.id) for one in begun])
        for lines in (self.objects(), self.table()):
            assert sorted(line["id"] for line in lines) == sorted(str(one.id) for one in begun)
            assert [line["started_at"] for line in lines] == sorted(line["started_at"] for line in lines)

    def test_while_written(self) -> None:
        """Between two pages nothing is held: what is recorded and deleted meanwhile takes effect in those to come."""
        self.patch(module, "PAGE_ROWS", 1)  # type: ignore[attr-defined]
        begun = [interception(started_at=NOON + n * HOUR) for n in range(3)]
        self.keep(begun[0], begun[1])
        lines = export(self.url, EVERYTHING, FORMATS["jsonl"])
        next(lines)
        self.keep(begun[2], tool_usage(begun[2].id))
        with self.store.transaction() as connection:
            connection.execute(module.interceptions.delete().where(module.interceptions.c.id == begun[1].id))
        (last,) = map(json.loads, lines)
        assert (last["id"], len(last["tool_usages"])) == (str(begun[2].id), 1)

    def test_one_moment(self) -> None:
        """An interception and its rows are read at one moment: one that is deleted meanwhile is whole, or not there."""
        begun = interception()
        self.keep(begun, token_usage(begun.id))
        reader = module.open_reader(self.url)
        self.patch(module, "open_reader", lambda url: reader)  # type: ignore[attr-defined]

        def delete_in_between(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            if "FROM aibridge_token_usages" in statement:
                with self.store.transaction() as writing:
                    writing.execute(module.interceptions.delete())

        event.listen(reader, "before_cursor_execute", delete_in_between)
        (line,) = self.objects()
        assert len(line["token_usages"]) == 1


class ExportOnSQLiteTests(ExportTests, OnSQLite):
    """Export of a SQLite file."""

    def test_no_tables(self) -> None:
        """A database without records is an error that names it."""
        url = f"sqlite:///{self.mktemp()}"
        error = self.assertRaises(RecordingError, list, export(url, EVERYTHING, FORMATS["jsonl"]))
        assert url in str(error)


class ExportOnPostgreSQLTests(ExportTests, OnPostgreSQL):
    """Export from a PostgreSQL server."""
