"""Records in a database, as gateways leave them there."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection
from twisted.trial.unittest import TestCase

from aibridge.record.database import open_reader
from aibridge.record.records import Record
from aibridge.record.store import Store

from ..record.samples import ended, interception, prompt, thought, token_usage, tool_usage

NOW = datetime(2026, 1, 31, 15, 30, tzinfo=UTC)
USD = 10**9


class WithRecords(TestCase):
    """Mixed into tests on a database: writes records, and opens connections to read them."""

    url: str

    def setUp(self) -> None:
        super().setUp()
        self.store = Store(self.url)
        self.addCleanup(self.store.close)
        self.store.open()

    def write(self, *records: Record) -> None:
        encoder = self.store.encoder(None)
        self.assertEqual(self.store.commit([encoder(record) for record in records]), {})

    def connect(self) -> Connection:
        connection = open_reader(self.url).connect()
        self.addCleanup(connection.close)
        return connection

    def exchange(self, at: datetime, **given: Any) -> UUID:
        """Write an exchange; `given` has values of its interception, and further ones.

        :param cost: nanodollars of its answer.
        :param seconds: how long it took.
        :param prompt: the user's prompt.
        :param calls: the client's tools that the model called: ids by name.
        :param injected: injected tools that it called, each with the error or None.
        """
        of, seconds = uuid4(), given.pop("seconds", 2)
        cost, said, calls = given.pop("cost", USD), given.pop("prompt", None), given.pop("calls", {})
        injected, status = given.pop("injected", {}), given.pop("status", "completed")
        tokens, first_byte = given.pop("tokens", {}), given.pop("first_byte_ms", 300.0)
        thoughts = given.pop("thoughts", ())
        end = at + timedelta(seconds=seconds)
        values: dict[str, Any] = {"correlating_tool_call_id": None, "client_session_id": None} | given
        records: list[Record] = [interception(id=of, started_at=at, **values)]
        records.append(token_usage(of, cost_nanousd=cost, created_at=end, **tokens))
        if said is not None:
            records.append(prompt(of, prompt=said, created_at=at))
        for name, call in calls.items():
            its = {"injected": False, "server_url": None, "invocation_error": None, "output": None, "duration_ms": None}
            records.append(tool_usage(of, tool=name, tool_call_id=call, created_at=end, **its))
        for name, error in injected.items():
            records.append(tool_usage(of, tool=name, invocation_error=error, tool_call_id=f"in {name}", created_at=end))
        records += [thought(of, content=each, created_at=end) for each in thoughts]
        records.append(ended(of, ended_at=end, status=status, first_byte_ms=first_byte))
        self.write(*records)
        return of
