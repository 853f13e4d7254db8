"""Erasure: a person's content and name are gone, everybody else's are there."""

from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from aibridge.identity.key_store import KeyStore
from aibridge.identity.user_store import UserStore
from aibridge.record import schema
from aibridge.record.audit import AuditEntry, add_entry, operator_entry
from aibridge.record.budgets.budget_store import BudgetStore
from aibridge.record.budgets.settings import BudgetSettings
from aibridge.record.console_tables import console_sessions
from aibridge.record.erasure import count_interceptions, erase, hidden_name
from aibridge.record.records import AnchorRecord, Record, ToolsetRecord, TurnRecord
from aibridge.record.store import Store
from aibridge.record.values import new_id

from .databases import OnSQLite, rows
from .postgresql import OnPostgreSQL
from .samples import NOON, ended, exchange, interception, prompt, thought, token_usage, tool_usage

SECRET = "tangerine"
"""Stands in everything that belongs to the person."""


def personal_exchange(actor: str) -> list[Record]:
    """An exchange with the secret in each field that may have content, or may lead to a person."""
    begun = interception(
        initiator_id=actor,
        client_session_id=SECRET,
        user_agent=SECRET,
        correlating_tool_call_id=SECRET,
        credential_hint=SECRET,
        metadata={"team": "core", "email": SECRET},
    )
    of = begun.id
    return [
        begun,
        token_usage(of, provider_response_id=SECRET),
        prompt(of, prompt=SECRET, provider_response_id=SECRET),
        tool_usage(
            of, input=SECRET, output=SECRET, invocation_error=SECRET, tool_call_id=SECRET, metadata={"x": SECRET}
        ),
        thought(of, content=SECRET),
        ended(of, error=SECRET),
    ]


def conversation(actor: str) -> list[Record]:
    """A hidden part of an answer, and what it belongs to."""
    toolset = ToolsetRecord(id=uuid4(), digest=str(uuid4()), content="[]", created_at=NOON)
    turn = TurnRecord(
        id=uuid4(),
        initiator_id=actor,
        provider_name="anthropic",
        content=SECRET,
        toolset_id=toolset.id,
        created_at=NOON,
    )
    return [toolset, turn, AnchorRecord(id=uuid4(), turn_id=turn.id, created_at=NOON)]


class ErasureTests:
    """Erasure in a database of either kind."""

    url: str

    def store(self, *records: Record) -> Store:
        """A database with these records."""
        store = Store(self.url)
        self.addCleanup(store.close)
        store.open()
        encoder = store.encoder(None)
        store.commit([encoder(record) for record in records])
        return store

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        """All rows of all tables."""
        return {name: rows(self.url, table) for name, table in schema.metadata.tables.items()}

    def test_without_figures(self) -> None:
        """Nothing of the person stays in any table, neither content nor name; others keep theirs."""
        store = self.store(*personal_exchange("alice"), *conversation("alice"), *exchange_of("bob"))
        for actor in ("alice", "bob"):
            KeyStore(self.url).create(actor, {"team": SECRET if actor == "alice" else "core"})
        UserStore(self.url).disable("alice")
        with store.transaction() as connection:
            seen = AuditEntry(actor="carol", origin="10.0.0.7", action="view person", subject="alice")
            add_entry(connection, seen)
            add_entry(connection, evolve(seen, action="view sessions", subject="", details={"actor": "alice"}))
        steps = {step.kind: step.rows for step in erase(store, "alice", None)}
        self.assertEqual(steps, {"interceptions": 1, "turns of conversations": 1, "keys": 1})
        left = self.everything()
        self.assertNotIn("alice", repr(left))
        self.assertNotIn(SECRET, repr(left))
        self.assertEqual([row["initiator_id"] for row in left["aibridge_interceptions"]], ["bob"])
        self.assertEqual([row["actor"] for row in left["aibridge_keys"]], ["bob"])
        for table in ("user_prompts", "tool_usages", "token_usages", "model_thoughts"):
            self.assertEqual(len(left[f"aibridge_{table}"]), 1, table)
        self.assertEqual((left["aibridge_turns"], left["aibridge_anchors"]), ([], []))

    def test_with_figures(self) -> None:
        """Tokens, costs, models, times, teams and numbers of rows stay under a pseudonym, and nothing else does."""
        store = self.store(*personal_exchange("alice"))
        before = self.everything()
        self.assertEqual([step.rows for step in erase(store, "alice", "erased-1")], [1, 0, 0])
        after = self.everything()
        self.assertNotIn("alice", repr(after))
        self.assertNotIn(SECRET, repr(after))
        [row] = after["aibridge_interceptions"]
        self.assertEqual((row["initiator_id"], row["metadata"]), ("erased-1", {"team": "core"}))
        self.assertEqual(row["model"], before["aibridge_interceptions"][0]["model"])
        [usage], [usage_before] = after["aibridge_token_usages"], before["aibridge_token_usages"]
        self.assertEqual(usage, usage_before | {"provider_response_id": None})
        for table in ("user_prompts", "tool_usages", "model_thoughts"):
            self.assertEqual(len(after[f"aibridge_{table}"]), 1, table)
        [call] = after["aibridge_tool_usages"]
        self.assertEqual((call["tool"], call["duration_ms"], call["input"]), ("ask", 12.5, None))

    def test_many(self) -> None:
        """More interceptions than one step has are all erased, and each is told once."""
        store = self.store(*(record for _ in range(25) for record in exchange()))
        told = [id_ for step in erase(store, "alice", "x") for id_ in step.interceptions]
        self.assertEqual((len(told), len({*told})), (25, 25))
        self.assertEqual(count_interceptions(store, "alice"), (0, 0))

    def test_in_progress(self) -> None:
        """An interception in progress stays, and is counted apart."""
        store = self.store(interception(), *exchange())
        self.assertEqual(count_interceptions(store, "alice"), (1, 1))
        self.assertEqual(sum(len(step.interceptions) for step in erase(store, "alice", None)), 1)
        self.assertEqual(count_interceptions(store, "alice"), (0, 1))

    def test_audit(self) -> None:
        """The erasure is in the audit: who did it, when, from where, and how much; the name is there as a hash."""
        store = self.store(*exchange())
        for _ in erase(store, "alice", "x"):
            pass
        [entry] = rows(self.url, schema.audit)
        self.assertEqual((entry["action"], entry["subject"]), ("erase", hidden_name("alice")))
        self.assertEqual(entry["details"], {"interceptions": 1, "figures": "kept"})

    def test_disabled(self) -> None:
        """A disabled user stays disabled without a name, and can be enabled by name."""
        store = self.store()
        users = UserStore(self.url)
        users.disable("alice")
        for _ in erase(store, "alice", None):
            pass
        self.assertEqual(users.disabled(), {hidden_name("alice")})
        self.assertFalse(users.disable("alice"))
        self.assertTrue(users.enable("alice"))
        self.assertEqual(users.disabled(), frozenset())

    def test_caps(self) -> None:
        """The person's caps on money are removed, again and again, and warnings about them are sent no more."""
        store = self.store()
        caps = BudgetStore(self.url, BudgetSettings())
        for _ in range(2):
            caps.set("actor", "alice", "daily", 10**9, operator_entry)
            caps.set("actor", "bob", "daily", 10**9)
            with store.transaction() as connection:
                for name in ("alice", "bob"):
                    content = {"scope": "actor", "name": name, "message": name}
                    notice = {"id": new_id(), "content": content, "created_at": NOON, "due_at": NOON}
                    connection.execute(schema.budget_notices.insert().values(notice))
            revision = max(row["revision"] for row in rows(self.url, schema.budgets))
            for _ in erase(store, "alice", "x"):
                pass
            left = self.everything()
            self.assertNotIn("alice", repr(left))
            self.assertEqual([cap.cap.name for cap in caps.caps()], ["bob"])
            self.assertGreater(max(row["revision"] for row in left["aibridge_budgets"]), revision)

    def test_console_sessions(self) -> None:
        """The person's sessions in the console are deleted, also those of a very long name; others keep theirs."""
        store, long_name = self.store(), 3000 * "x"
        names = ("alice", long_name, "bob")
        with store.transaction() as connection:
            for number, name in enumerate(names):
                row = {"hash": str(number), "name": name, "role": "self", "created_at": NOON, "expires_at": NOON}
                connection.execute(console_sessions.insert().values(row))
        for name in ("alice", long_name):
            for _ in erase(store, name, None):
                pass
        self.assertEqual([row["name"] for row in rows(self.url, console_sessions)], ["bob"])
        self.assertNotIn("alice", repr(self.everything()))

    def test_other_tables(self) -> None:
        """Rows of any other table of the gateway's that has actors are deleted too; a host's tables are let alone."""
        store = self.store()
        with store.transaction() as connection:
            for table in ("aibridge_more", "customers"):
                connection.exec_driver_sql(f"CREATE TABLE {table} (actor text, words text)")
                connection.exec_driver_sql(f"INSERT INTO {table} VALUES ('alice', 'a'), ('bob', 'b')")
        for _ in erase(store, "alice", "x"):
            pass
        with store.transaction() as connection:
            for table, left in (("aibridge_more", 1), ("customers", 2)):
                self.assertEqual(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar(), left)


class SQLiteErasureTests(ErasureTests, OnSQLite):
    """On SQLite."""

    def test_file(self) -> None:
        """The words are not even in the bytes of the file and its log."""
        with closing(self.store(*personal_exchange("alice"), *conversation("alice"), *exchange_of("bob"))) as store:
            for _ in erase(store, "alice", None):
                pass
            for file in Path(self.path).parent.glob(f"{Path(self.path).name}*"):
                content = file.read_bytes()
                self.assertNotIn(SECRET.encode(), content, file)
                self.assertNotIn(b"alice", content, file)

    def test_index_of_words(self) -> None:
        """The words are not in an index for search either."""
        store = self.store()
        name, table = "search_aibridge_prompts", "aibridge_user_prompts"
        add = f"INSERT INTO {name}(rowid, prompt) VALUES (new.rowid, new.prompt)"
        remove = f"INSERT INTO {name}({name}, rowid, prompt) VALUES ('delete', old.rowid, old.prompt)"
        with store.transaction() as connection:
            for statement in (
                f"CREATE VIRTUAL TABLE {name} USING fts5(prompt, content='{table}', content_rowid='rowid')",
                f"CREATE TRIGGER {name}_insert AFTER INSERT ON {table} BEGIN {add}; END",
                f"CREATE TRIGGER {name}_delete AFTER DELETE ON {table} BEGIN {remove}; END",
            ):
                connection.exec_driver_sql(statement)
        encoder = store.encoder(None)
        store.commit([encoder(record) for record in (*personal_exchange("alice"), *exchange_of("bob"))])
        for _ in erase(store, "alice", None):
            pass
        self.assertNotIn(SECRET.encode(), Path(self.path).read_bytes())


class PostgreSQLErasureTests(ErasureTests, OnPostgreSQL):
    """On PostgreSQL."""


class SchemaTests(SynchronousTestCase):
    """The columns that erasure looks for."""

    def test_names(self) -> None:
        """No table names people in a column that erasure does not know."""
        strange = ("user", "owner", "email", "subject", "name")
        columns = {f"{name}.{column.name}" for name, table in schema.metadata.tables.items() for column in table.c}
        named = {column for column in columns if column.rpartition(".")[2] in strange}
        others = {
            *("aibridge_audit.subject", "aibridge_budgets.name"),  # erasure knows these two
            *("aibridge_console_users.name", "aibridge_console_sessions.name"),  # of operators, not of actors
            "aibridge_rollup_state.name",  # of the state
        }
        self.assertEqual(named - others, set())


def exchange_of(actor: str) -> list[Record]:
    """An exchange of another person, without the secret."""
    begun = interception(initiator_id=actor)
    of = begun.id
    return [begun, token_usage(of), prompt(of), tool_usage(of), thought(of), ended(of)]
