"""Whole gateways, killed under load: what a client saw complete is recorded, and everything is recorded once.

``AIBRIDGE_CRASH_ROUNDS`` says how often each of them is killed, ``AIBRIDGE_CRASH_SEED`` repeats the moments of a run.
"""

import os
import random
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import SkipTest, TestCase

from aibridge.record import migrations, schema
from aibridge.testing import FakeProvider, LoopbackServer, Reply

from .databases import rows
from .gateway import Clients, Gateway, pause, until
from .postgresql import cluster, programs

ROUNDS = int(os.environ.get("AIBRIDGE_CRASH_ROUNDS", "4"))
SEED = os.environ.get("AIBRIDGE_CRASH_SEED") or str(random.randrange(10**6))


class CrashTestCase(TestCase):
    """A gateway on ``self.url`` before a provider that outlives it."""

    timeout = 60 + 10 * ROUNDS
    url: str

    async def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.url = self.new_database()
        migrations.upgrade(self.url)  # not in the gateway, to which so short a timeout would mean an outage
        self.chance = random.Random(SEED)
        self.clients = Clients(self.chance)
        self.provider = FakeProvider(lambda question: Reply(text="a b c d e f g h"), clock=reactor, delay=0.004)
        server = LoopbackServer(reactor, self.provider)
        self.gateway = Gateway(self.folder, self.url, await server.start())
        self.addCleanup(server.stop)
        self.addCleanup(self.gateway.kill)

    def new_database(self) -> str:
        raise NotImplementedError

    async def trouble(self) -> None:
        """Disturb the database while the gateway is under load, before it is killed."""

    def end_trouble(self) -> None:
        """Bring the database back."""

    async def killed(self) -> None:
        """A gateway's life under load, from its start to its violent end."""
        gone = self.clients.ask(await self.gateway.start())
        await pause(self.chance.uniform(0.1, 0.8))
        if self.chance.random() < 0.6:
            await self.trouble()
            await pause(self.chance.uniform(0.0, 0.8))
        if self.chance.random() < 0.5:
            self.end_trouble()
            await pause(self.chance.uniform(0.0, 0.6))
        self.gateway.kill()
        await gone

    async def recover(self) -> None:
        """A last start, without trouble, brings everything to its end."""
        self.end_trouble()
        await self.gateway.start()
        await until(lambda: not list(self.gateway.spool.glob("*.spool")) and not self.under_way())
        assert await self.gateway.stop() == 0
        assert [path for path in self.gateway.spool.iterdir() if path.suffix != ".reached"] == []

    def under_way(self) -> list[Any]:
        return [row for row in self.interceptions() if row["status"] == "in_progress"]

    def interceptions(self) -> list[dict[str, Any]]:
        return rows(self.url, schema.interceptions)

    def check(self) -> None:
        """Check that no exchange is missing and none is there twice."""
        found = self.interceptions()
        by_session = {row["client_session_id"]: row for row in found}
        self.assertEqual(len(by_session), len(found), f"an exchange is doubled (seed {SEED})")
        paid = {request.headers.getRawHeaders("x-claude-code-session-id")[0] for request in self.provider.requests}
        self.assertEqual(paid - by_session.keys(), set(), f"the provider was called without a row (seed {SEED})")
        complete = [seen for seen in self.clients.seen if seen.complete]
        assert len(complete) > 20 * ROUNDS, len(complete)
        missing = [seen for seen in complete if by_session[seen.session]["status"] != "completed"]
        self.assertEqual(missing, [], f"seed {SEED}")
        self.check_rows({seen.session: by_session[seen.session]["id"] for seen in complete})

    def check_rows(self, ids: dict[str, Any]) -> None:
        """Each complete exchange has its prompt and its final figures, and has them once."""
        prompts = Counter((row["interception_id"], row["prompt"]) for row in rows(self.url, schema.user_prompts))
        usages = rows(self.url, schema.token_usages)
        figures = {row["interception_id"]: row for row in usages}
        self.assertEqual(len(figures), len(usages), f"seed {SEED}")
        self.assertEqual(set(prompts.values()), {1}, f"seed {SEED}")
        for session, interception_id in ids.items():
            self.assertIn((interception_id, f"prompt of {session}"), prompts, f"seed {SEED}")
            row = figures[interception_id]
            sent = self.provider.sent[row["provider_response_id"]]
            self.assertEqual(row["output_tokens"], sent.usage.output, f"seed {SEED}")
            self.assertTrue(row["metadata"]["complete"], f"seed {SEED}")


class CrashContract:
    """Tests for every database."""

    async def test_killed(self: Any) -> None:
        """Killed at any moment, again and again, with the database coming and going, it loses and doubles nothing."""
        for _ in range(ROUNDS):
            await self.killed()
        await self.recover()
        self.check()

    async def test_terminated(self: Any) -> None:
        """SIGTERM under load: what is under way ends as it should, and nothing is left for the next start."""
        gone = self.clients.ask(await self.gateway.start())
        await until(lambda: len(self.clients.seen) > 40 * ROUNDS)
        assert await self.gateway.stop() == 0
        await gone
        assert [path for path in self.gateway.spool.iterdir() if path.suffix != ".reached"] == []
        assert {row["status"] for row in self.interceptions()} == {"completed"}
        self.check()


class SQLiteCrashTests(CrashContract, CrashTestCase):
    """On SQLite, which another process locks now and then."""

    def new_database(self) -> str:
        path = self.folder / "x.sqlite"
        self.other = sqlite3.connect(path, isolation_level=None)
        self.addCleanup(self.other.close)
        return f"sqlite:///{path}"

    async def trouble(self) -> None:
        self.end_trouble()
        try:
            self.other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:  # the gateway was faster
            return

    def end_trouble(self) -> None:
        if self.other.in_transaction:
            self.other.execute("ROLLBACK")


class PostgreSQLCrashTests(CrashContract, CrashTestCase):
    """On PostgreSQL, which crashes too."""

    def new_database(self) -> str:
        if programs() is None:
            raise SkipTest("PostgreSQL is not installed")
        self.server = cluster()
        self.addCleanup(self.server.ensure_started)
        return self.server.new_database()

    async def trouble(self) -> None:
        self.server.stop()

    def end_trouble(self) -> None:
        self.server.ensure_started()
