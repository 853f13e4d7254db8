"""Caps on money, as the recorder holds them: on every database."""

from datetime import timedelta

from sqlalchemy import text
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

from aibridge.costs.calculator import Prices
from aibridge.costs.settings import OwnPrices
from aibridge.errors import BudgetSpent
from aibridge.interfaces import Actor, IBudgets
from aibridge.record import schema
from aibridge.record.budgets.caps import ACTOR, GROUP, ORGANIZATION
from aibridge.record.budgets.estimates import Estimate
from aibridge.record.budgets.periods import DAILY, MONTHLY, WEEKLY
from aibridge.record.budgets.settings import BudgetSettings
from aibridge.record.database import open_engine
from aibridge.record.records import BYOK, FAILED
from aibridge.record.values import utc_now
from aibridge.wire.usage import TokenCounts

from ..costs.tables import LITELLM, file_table
from .budget_case import CENT, PRICED, BudgetCase, interception_again, request
from .databases import OnSQLite, rows
from .postgresql import OnPostgreSQL
from .samples import ended, interception, token_usage


class BudgetTests(BudgetCase):
    """Tests for every database."""

    async def test_interface(self) -> None:
        """The recorder provides `IBudgets`, and knows of no cap before there is one."""
        assert IBudgets.providedBy(self.recorder)
        assert await self.begin(request()) is None
        assert not self.recorder.is_active

    async def test_reserved_and_settled(self) -> None:
        """A request reserves when it begins; its cost takes the reservation's place, and its end gives back the rest."""
        cap = self.set(1)
        record = request()
        assert await self.begin(record) == 100 * CENT
        assert self.standing(cap) == (0, CENT)
        await self.recorder.record_all([token_usage(record.id, cost_nanousd=CENT // 4)])
        assert self.standing(cap) == (CENT // 4, CENT - CENT // 4)
        await self.finish(record, 3 * CENT)
        assert self.standing(cap) == (3 * CENT + CENT // 4, 0)
        self.check()

    async def test_refused(self) -> None:
        """A cap that is spent refuses the next request, which gets a row; the sentence names the cap and its end."""
        cap = self.set(0.05, ACTOR, "alice")
        await self.spend(5 * CENT)
        error = await self.refused(request())
        assert error.message.startswith("The monthly budget of alice is spent: 0.05 of 0.05 USD. It begins anew on ")
        assert (error.scope, error.status, error.is_final) == (ACTOR, 429, True)
        assert self.standing(cap) == (5 * CENT, 0)
        await self.begin(request("bob"))
        self.check()

    async def test_cached_tokens(self) -> None:
        """Cached tokens under own prices of input and output only count for a cap, which then refuses."""
        cap = self.set(0.05)
        mine = Prices(file_table(LITELLM), {}, {"*": OwnPrices(input=10, output=20)})
        for kind in ({"cache_read": 2500}, {"cache_write": 2500}):
            await self.spend(mine.cost("any", "model", TokenCounts(**kind), utc_now()))
        assert self.standing(cap) == (5 * CENT, 0)
        await self.refused(request())
        self.check()

    async def test_next_request(self) -> None:
        """A cap set by another program holds from the next request on, and so does its change and its removal."""
        await self.spend(2 * CENT)
        cap = self.set(0.02)
        await self.refused(request())
        self.set(0.10)
        await self.spend(CENT)
        self.set(0.01)
        await self.refused(request())
        assert self.store.remove(cap)
        assert not self.store.remove(cap)
        await self.spend(CENT)
        self.set(0.05)
        assert self.standing(cap) == (4 * CENT, 0)
        self.check()

    async def test_under_way(self) -> None:
        """What was under way when a cap was set is counted once it is known, and drifts nowhere."""
        before = request()
        await self.begin(before)
        cap = self.set(0.03)
        assert self.standing(cap) == (0, 0)
        await self.finish(before, 3 * CENT)
        assert self.standing(cap) == (3 * CENT, 0)
        await self.refused(request())
        self.check()

    async def test_set_while_reserved(self) -> None:
        """A cap that comes to another one counts the reservations of requests under way, and their end."""
        self.set(1)
        record = request()
        await self.begin(record)
        other = self.set(1, ACTOR, "alice")
        assert self.standing(other) == (0, CENT)
        await self.finish(record, None, status=FAILED)
        assert self.standing(other) == (0, 0)
        self.check()

    async def test_every_cap(self) -> None:
        """All caps that apply must hold: the organization's, the group's, the actor's, in all periods."""
        self.set(1)
        team = self.set(0.04, GROUP, "core", DAILY)
        self.set(0.02, ACTOR, "alice", WEEKLY)
        await self.spend(2 * CENT)
        assert (await self.refused(request())).message.startswith("The weekly budget of alice")
        await self.spend(2 * CENT, actor="bob")
        assert (await self.refused(request("carol"))).message.startswith("The daily budget of group core")
        await self.spend(2 * CENT, actor="carol", team="other")
        assert self.standing(team) == (4 * CENT, 0)
        self.check()

    async def test_last_cent(self) -> None:
        """Of requests at once as many begin as a cap has room for, whatever they come to."""
        cap = self.set(0.05)
        tried = [self.begin(request()).addErrback(lambda failure: failure.trap(BudgetSpent)) for _ in range(20)]
        done = await gatherResults(tried)
        assert sum(each is BudgetSpent for each in done) == 15
        assert self.standing(cap) == (0, 5 * CENT)
        self.check()

    async def test_two_gateways(self) -> None:
        """Two gateways on one database have one cap."""
        cap = self.set(0.05)
        recorders = [self.recorder, await self.start()]
        tried = [
            recorder.begin(request(), PRICED).addErrback(lambda failure: failure.trap(BudgetSpent))
            for _ in range(10)
            for recorder in recorders
        ]
        done = await gatherResults(tried)
        assert sum(each is BudgetSpent for each in done) == 15
        assert self.standing(cap) == (0, 5 * CENT)
        self.check()

    async def test_estimates(self) -> None:
        """A request reserves what the actor's last one to that model cost, but no more than it can cost."""
        cap = self.set(10)
        await self.spend(50 * CENT)
        await self.begin(request())
        assert self.standing(cap) == (50 * CENT, 50 * CENT)
        await self.begin(request(model="other"))
        assert self.standing(cap) == (50 * CENT, 51 * CENT)
        await self.begin(request(), Estimate(7 * CENT, is_priced=True))
        assert self.standing(cap) == (50 * CENT, 58 * CENT)
        recorder = await self.start()
        await recorder.begin(request(), PRICED)
        assert self.standing(cap) == (50 * CENT, 108 * CENT)
        self.check()

    async def test_byok(self) -> None:
        """A client's own credential is not counted, unless that is configured."""
        cap = self.set(1)
        await self.finish_of(BYOK)
        assert self.standing(cap) == (0, 0)
        self.recorder = await self.start(BudgetSettings(count_byok=True))
        await self.finish_of(BYOK)
        assert self.standing(cap) == (2 * CENT, 0)

    async def finish_of(self, kind: str) -> None:
        record = interception(started_at=utc_now(), credential_kind=kind, upstream_requests=0)
        await self.begin(record)
        await self.finish(record, 2 * CENT)

    async def test_unpriced(self) -> None:
        """A model without a price is let pass under a cap, or refused where that is configured."""
        self.set(1)
        await self.begin(request(), Estimate(None, is_priced=False))
        self.recorder = await self.start(BudgetSettings(unpriced="refuse"))
        await self.begin(request())
        error = await self.refused(request(model="odd"), estimate=Estimate(None, is_priced=False))
        assert error.message.startswith("odd has no price, so the monthly budget of the organization can't count it.")

    async def test_no_limit(self) -> None:
        """A cap without a limit counts, and refuses nothing; one of 0 refuses everything."""
        cap = self.set(None)
        await self.spend(5 * CENT)
        assert self.standing(cap) == (5 * CENT, 0)
        self.set(0)
        await self.refused(request())

    async def test_recorded_again(self) -> None:
        """Figures of an answer that come again replace the ones before, in the period too."""
        cap = self.set(1)
        record = request()
        await self.begin(record)
        usage = token_usage(record.id, cost_nanousd=CENT)
        for cost in (CENT, 3 * CENT, 3 * CENT, 2 * CENT):
            usage = token_usage(record.id, id=usage.id, cost_nanousd=cost)
            await self.recorder.record_all([interception_again(record), usage])
            assert self.standing(cap)[0] == cost
        assert self.standing(cap) == (2 * CENT, 0)
        await self.recorder.record_all([usage, ended(record.id)])
        await self.recorder.record_all([usage, ended(record.id)])
        assert self.standing(cap) == (2 * CENT, 0)
        self.check()

    async def test_month_ends(self) -> None:
        """An answer counts in the period in which its request began, and a clock that steps back finds it again."""
        cap = self.set(1, period=DAILY)
        yesterday = request()
        yesterday = interception_again(yesterday, upstream_requests=0, started_at=utc_now() - timedelta(days=1))
        await self.begin(yesterday)
        await self.begin(request())
        assert self.standing(cap) == (0, CENT)
        await self.finish(yesterday, 7 * CENT)
        assert self.standing(cap) == (0, CENT)
        periods = {row["spent_nanousd"] for row in rows(self.url, schema.budget_periods)}
        assert periods == {0, 7 * CENT}

    async def test_standing(self) -> None:
        """An actor learns of the tightest cap; without one, of their own month."""
        await self.spend(2 * CENT)
        own = await self.recorder.standing(Actor("alice"))
        assert (own.cap.limit, own.spent, own.cap.period) == (None, 2 * CENT, MONTHLY)
        self.set(1)
        self.set(0.5, GROUP, "core")
        closest = await self.recorder.standing(Actor("alice", {"team": "core"}))
        assert (closest.cap.scope, closest.left) == (GROUP, 48 * CENT)
        closest = await self.recorder.standing(Actor("alice"))
        assert (closest.cap.scope, closest.left) == (ORGANIZATION, 98 * CENT)


class SQLiteBudgetTests(BudgetTests, OnSQLite):
    pass


class PostgreSQLBudgetTests(BudgetTests, OnPostgreSQL):
    """With what only PostgreSQL can do: several transactions at once."""

    async def test_set_under_load(self) -> None:
        """Setting a cap waits for transactions that write, and for none that would wait for it in turn."""
        engine = open_engine(self.url)
        self.addCleanup(engine.dispose)
        with engine.begin() as connection:
            connection.execute(text("LOCK TABLE aibridge_token_usages IN ROW EXCLUSIVE MODE"))
            done = deferToThread(self.set, 1)
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            while not connection.execute(text(waiting)).scalar_one():
                pass
            connection.execute(text("LOCK TABLE aibridge_interceptions IN ROW EXCLUSIVE MODE"))
        await done
        await self.begin(request())
        self.check()
