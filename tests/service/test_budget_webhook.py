"""The webhook of budgets: signed, sent until it is taken, and kept over a restart."""

import hmac
import json
from base64 import b64encode
from datetime import timedelta
from hashlib import sha256
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.web.resource import Resource

from aibridge.errors import BudgetSpent
from aibridge.record import schema
from aibridge.record.budgets.budget_store import BudgetStore
from aibridge.record.budgets.estimates import Estimate
from aibridge.record.budgets.notices import Notice, Notices
from aibridge.record.budgets.settings import BudgetSettings
from aibridge.record.database import open_engine
from aibridge.record.values import new_id, utc_now
from aibridge.recorder import SQLRecorder
from aibridge.service.budget_webhook import BudgetWebhook
from aibridge.testing import LoopbackServer

from ..record.budget_case import CENT, request
from ..record.databases import OnSQLite, rows
from ..record.samples import ended, token_usage

SECRET = "whsec_" + b64encode(b"0123456789abcdef").decode()


class Receiver(Resource):
    """Takes warnings, once it wants to."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.got: list[tuple[Any, bytes]] = []
        self.code = 200

    def render_POST(self, request: Any) -> bytes:
        self.got.append((request.requestHeaders, request.content.read()))
        request.setResponseCode(self.code)
        return b""


def soon(condition: Any) -> "Deferred[None]":
    async def wait() -> None:
        while not condition():
            await deferLater(reactor, 0.01)

    return ensureDeferred(wait())


class WebhookTests(OnSQLite):
    """A recorder whose caps warn, and a receiver on a socket."""

    timeout = 20

    async def setUp(self) -> None:
        super().setUp()
        self.receiver = Receiver()
        server = LoopbackServer(reactor, self.receiver)
        self.hook = f"{await server.start()}/hook"
        self.addCleanup(server.stop)
        self.settings = BudgetSettings(webhook=self.hook, webhook_secret=SECRET, warn_at=(0.5, 1.0))
        self.recorder = SQLRecorder(self.url, budgets=self.settings)
        self.addCleanup(self.recorder.stopService)
        await self.recorder.startService()
        BudgetStore(self.url, self.settings).set("actor", "alice", "monthly", 10 * CENT)

    def start(self) -> BudgetWebhook:
        webhook = BudgetWebhook(self.hook, SECRET, Notices(self.url), reactor)
        webhook.startService()
        self.addCleanup(webhook.stopService)
        return webhook

    async def spend(self, cost: int) -> None:
        record = request()
        await self.recorder.begin(record, Estimate(CENT, is_priced=True))
        await self.recorder.record_all([token_usage(record.id, cost_nanousd=cost), ended(record.id)])

    def waiting(self) -> list[dict[str, Any]]:
        return rows(self.url, schema.budget_notices)

    async def test_sent(self) -> None:
        """A warning is sent once, with a signature that the receiver can check."""
        await self.spend(6 * CENT)
        await self.spend(CENT)
        [waiting] = self.waiting()
        self.start()
        await soon(lambda: self.receiver.got and not self.waiting())
        [(headers, body)] = self.receiver.got
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        id_, timestamp, signature = (headers.getRawHeaders(name)[0] for name in names)
        signed = f"{id_}.{timestamp}.".encode() + body
        self.assertEqual(signature, f"v1,{b64encode(hmac.digest(b'0123456789abcdef', signed, sha256)).decode()}")
        content = json.loads(body)
        self.assertEqual((content["id"], content["id"]), (id_, str(waiting["id"])))
        told = {name: content[name] for name in ("type", "scope", "name", "period", "threshold", "spent_usd")}
        self.assertEqual(
            told,
            {
                "type": "budget.warning",
                "scope": "actor",
                "name": "alice",
                "period": "monthly",
                "threshold": 0.5,
                "spent_usd": "0.06",
            },
        )
        self.assertEqual(content["message"], "50 % of the monthly budget of alice are spent: 0.06 of 0.10 USD")

    async def test_refused(self) -> None:
        """The first request for which too little is left gives the warning of the whole limit, and no other does."""
        await self.spend(4 * CENT)
        busy = [request() for _ in range(2)]
        for record in busy:
            await self.recorder.begin(record, Estimate(3 * CENT, is_priced=True))
        # There was room but for the others' reservations.
        await self.assertFailure(self.recorder.begin(request(), Estimate(CENT, is_priced=True)), BudgetSpent)
        self.assertEqual(self.waiting(), [])
        await self.recorder.record_all([ended(record.id) for record in busy])
        await self.spend(5 * CENT)
        for _ in range(2):
            refused = self.recorder.begin(request(), Estimate(2 * CENT, is_priced=True))
            await self.assertFailure(refused, BudgetSpent)
        await self.spend(CENT)
        told = [(each["content"]["threshold"], each["content"]["message"]) for each in self.waiting()]
        half = "50 % of the monthly budget of alice are spent: 0.09 of 0.10 USD"
        full = "The monthly budget of alice has no room for a request: 0.09 of 0.10 USD are spent"
        self.assertEqual(sorted(told), [(0.5, half), (1.0, full)])

    async def test_again(self) -> None:
        """A receiver that fails gets the warning again, after pauses that grow, and after a restart too."""
        await self.spend(10 * CENT)
        self.receiver.code = 500
        webhook = self.start()
        await soon(lambda: self.receiver.got and self.waiting()[0]["due_at"] < utc_now() + timedelta(seconds=50))
        [row] = self.waiting()
        self.assertEqual(row["attempts"], 1)
        await webhook.stopService()
        engine = open_engine(self.url)
        with engine.begin() as connection:
            connection.execute(schema.budget_notices.update().values(due_at=utc_now()))
        engine.dispose()
        self.receiver.code = 204
        self.start()
        await soon(lambda: len(self.receiver.got) == 2 and not self.waiting())
        self.assertEqual(self.receiver.got[0][1], self.receiver.got[1][1])

    async def test_pauses(self) -> None:
        """Each pause is twice the last one, up to an hour."""
        notices = [Notice(new_id(), {}, attempts) for attempts in (0, 1, 2, 20)]
        self.assertEqual([Notices(self.url).failed(notice) for notice in notices], [5.0, 10.0, 20.0, 3600.0])

    async def test_one_sender(self) -> None:
        """Of two gateways that look for a warning at once, only one gets it."""
        await self.spend(6 * CENT)
        self.assertIsNotNone(Notices(self.url).claim())
        self.assertIsNone(Notices(self.url).claim())
