"""Budgets over HTTP: a program written for Anthropic's Admin API, such as its SDK, works with this one."""

import json
from typing import Any

import treq
from anthropic import Anthropic, BadRequestError, NotFoundError, PermissionDeniedError
from attrs import evolve
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource

from aibridge.config.loader import load_config
from aibridge.console.settings import ConsoleSettings
from aibridge.record.budgets.budget_store import BudgetStore
from aibridge.record.budgets.settings import BudgetSettings
from aibridge.record.records import CENTRALIZED
from aibridge.record.schema import audit
from aibridge.record.store import Store
from aibridge.record.values import utc_now
from aibridge.service.console_part import ConsolePart
from aibridge.service.spend_limits import SpendLimits, allow_own_pages, refuse_strangers
from aibridge.testing import LoopbackServer

from ..record.databases import OnSQLite, rows
from ..record.samples import interception, token_usage

CENT = 10_000_000


class SpendLimitTests(OnSQLite):
    """The operator's site on a socket, and clients of it."""

    async def setUp(self) -> None:
        super().setUp()
        self.store = Store(self.url)
        self.store.open()
        self.addCleanup(self.store.close)
        self.budgets = BudgetStore(self.url, BudgetSettings())
        await self.serve(allow_own_pages)

    async def serve(self, authorize: Any) -> None:
        root = Resource()
        root.putChild(b"v1", SpendLimits(self.budgets, reactor, authorize))
        server = LoopbackServer(reactor, root)
        self.base = await server.start()
        self.addCleanup(server.stop)

    def record(self, *spent: tuple[str, str, int]) -> None:
        """Store interceptions of actors, with their groups and costs."""
        encode = self.store.encoder(None)
        for actor, team, cost in spent:
            begun = interception(
                initiator_id=actor, metadata={"team": team}, started_at=utc_now(), credential_kind=CENTRALIZED
            )
            self.store.commit([encode(begun), encode(token_usage(begun.id, cost_nanousd=cost))])

    def sdk(self, use: Any) -> "Deferred[Any]":
        """Use Anthropic's SDK, which blocks, on a thread."""

        def run() -> Any:
            with Anthropic(base_url=self.base, api_key="any", max_retries=0) as client:
                return use(client.beta.organization.spend_limits)

        return deferToThread(run)

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        data = json.dumps(body).encode() if body is not None else None
        headers = {"content-type": "application/json"} | headers
        url = f"{self.base}/v1/organizations/spend_limits{path}"
        response = await treq.request(method, url, data=data, headers=headers, persistent=False)
        return response.code, await response.json()

    async def test_life(self) -> None:
        """A limit is set, found, changed in its place, listed and removed."""
        user = {"type": "user", "user_id": "alice"}
        made = await self.sdk(lambda limits: limits.set(amount="50000", scope=user))
        self.assertEqual((made.amount, made.period, made.currency, made.is_enabled), ("50000", "monthly", "USD", True))
        self.assertRegex(made.id, "^spl_[0-9a-f]{32}$")
        changed = await self.sdk(lambda limits: limits.set(amount="60000", scope=user, period="monthly"))
        self.assertEqual((changed.id, changed.created_at), (made.id, made.created_at))
        found = await self.sdk(lambda limits: limits.retrieve(made.id))
        self.assertEqual((found.amount, found.scope.user_id), ("60000", "alice"))
        [cap] = self.budgets.caps()
        self.assertEqual((cap.cap.scope, cap.cap.name, cap.cap.limit), ("actor", "alice", 60_000 * CENT))
        deleted = await self.sdk(lambda limits: limits.delete(made.id))
        self.assertEqual((deleted.type, deleted.id), ("spend_limit_deleted", made.id))
        self.assertEqual(self.budgets.caps(), [])
        with self.assertRaises(NotFoundError):
            await self.sdk(lambda limits: limits.retrieve(made.id))
        entries = sorted(rows(self.url, audit), key=lambda row: row["created_at"])
        told = [(row["action"], row["subject"], row["details"]["limit_usd"]) for row in entries]
        self.assertEqual(told[:2], [("set budget", "alice", "500.00"), ("set budget", "alice", "600.00")])
        self.assertEqual(told[2], ("remove budget", made.id, "600.00"))
        self.assertEqual({(row["actor"], row["origin"]) for row in entries}, {("anonymous", "127.0.0.1")})

    async def test_reload(self) -> None:
        """Once the console asks for a password, so do budgets; they are back when it no longer does."""
        config = load_config(None, {})
        config = evolve(config, database=evolve(config.database, url=self.url))
        console = ConsolePart(config, dict, CollectorRegistry(), reactor)  # type: ignore[arg-type]
        self.addCleanup(console.stop)
        await self.serve(console.authorize)
        for auth, status in ((None, 200), ("password", 401), ("none", 200)):
            console.reload(evolve(config, console=ConsoleSettings(auth=auth)))
            self.assertEqual((await self.ask("GET", ""))[0], status, auth)

    async def test_list(self) -> None:
        """Limits of every scope come page by page."""
        scopes = [{"type": "organization"}, {"type": "rbac_group", "rbac_group_id": "core"}]
        scopes += [{"type": "user", "user_id": f"user{number}"} for number in range(5)]
        for scope in scopes:
            for period in ("daily", "weekly"):
                code, _ = await self.ask("POST", "", {"scope": scope, "amount": "100", "period": period})
                self.assertEqual(code, 200)
        listed = await self.sdk(lambda limits: [*limits.list(limit=3)])
        self.assertEqual(len({each.id for each in listed}), 14)
        self.assertEqual(listed[0].scope.type, "organization")
        _, some = await self.ask("GET", "?scope_type[]=rbac_group")
        self.assertEqual({each["scope"]["rbac_group_id"] for each in some["data"]}, {"core"})

    async def test_effective(self) -> None:
        """Each actor has a row for each period in which a cap counts what they spend, with the one that binds."""
        self.record(("alice", "core", 123_456_789), ("bob", "core", 2 * CENT), ("carol", "other", CENT))
        self.budgets.set("organization", "", "monthly", 100 * CENT)
        self.budgets.set("group", "core", "monthly", 20 * CENT)
        self.budgets.set("actor", "bob", "daily", 5 * CENT)
        listed = await self.sdk(lambda limits: [*limits.effective.list(limit=1)])
        found = {(each.actor.user_id, each.period): each for each in listed}
        self.assertEqual(
            {key: (each.source.type, each.amount, each.period_to_date_spend) for key, each in found.items()},
            {
                ("alice", "monthly"): ("rbac_group", "20", "12.346"),
                ("bob", "monthly"): ("rbac_group", "20", "2"),
                ("bob", "daily"): ("user", "5", "2"),
                ("carol", "monthly"): ("organization", "100", "1"),
            },
        )
        [only] = await self.sdk(lambda limits: [*limits.effective.list(user_ids=["bob"], period=["daily"])])
        self.assertEqual((only.actor.user_id, only.amount), ("bob", "5"))

    async def test_wrong(self) -> None:
        """A wrong request changes nothing, and its error has the API's form and the id of the response."""
        user = {"type": "user", "user_id": "alice"}
        for body in (
            {"scope": user, "amount": 50},
            {"scope": user, "amount": "0.5"},
            {"scope": user, "amount": "-1"},
            {"scope": user},
            {"scope": user, "amount": "1", "period": "yearly"},
            {"scope": user, "amount": "1", "currency": "EUR"},
            {"scope": {"type": "user"}, "amount": "1"},
            {"scope": {"type": "seat_tier", "seat_tier": "x"}, "amount": "1"},
            {"amount": "1"},
            [],
        ):
            code, answer = await self.ask("POST", "", body)
            self.assertEqual((code, answer["error"]["type"]), (400, "invalid_request_error"), body)
            self.assertRegex(answer["request_id"], "^req_")
        self.assertEqual(self.budgets.caps(), [])
        for method, path, expected in (
            ("GET", "?limit=0", 400),
            ("GET", "?page=%ff", 400),
            ("GET", "/effective?period[]=yearly", 400),
            ("GET", "/spl_nothing", 404),
            ("GET", "/a/b", 404),
            ("PUT", "", 405),
            ("DELETE", "/effective", 405),
        ):
            self.assertEqual((await self.ask(method, path))[0], expected, path)
        with self.assertRaises(BadRequestError):
            await self.sdk(lambda limits: limits.set(amount="x", scope=user))

    async def test_no_limit(self) -> None:
        """An amount of null is a cap that only counts."""
        code, answer = await self.ask("POST", "", {"scope": {"type": "organization"}, "amount": None})
        self.assertEqual((code, answer["amount"]), (200, None))

    async def test_pages_of_others(self) -> None:
        """A web page of another site can change nothing through the operator's browser."""
        body = {"scope": {"type": "organization"}, "amount": "1"}
        self.assertEqual((await self.ask("POST", "", body, origin="https://evil.example"))[0], 403)
        rebound = {"origin": "http://evil.example:80", "host": "evil.example:80"}
        self.assertEqual((await self.ask("POST", "", body, **rebound))[0], 403)
        self.assertEqual((await self.ask("POST", "", body, **{"content-type": "text/plain"}))[0], 400)
        self.assertEqual(self.budgets.caps(), [])
        self.assertEqual((await self.ask("POST", "", body, origin=self.base))[0], 200)

    async def test_strangers(self) -> None:
        """Where other machines reach the site, which has no login, nobody learns or changes anything."""
        await self.serve(refuse_strangers)
        with self.assertRaises(PermissionDeniedError):
            await self.sdk(lambda limits: limits.set(amount="1", scope={"type": "organization"}))
