"""Costs that are found again, in steps, with the periods of caps."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from aibridge.record import reprice as module
from aibridge.record import schema
from aibridge.record.records import CENTRALIZED, TokenUsageRecord
from aibridge.record.reprice import Repriced, count_priceable, reprice
from aibridge.record.store import Store
from aibridge.record.values import utc_now

from ..clouds.test_costs import cloud_prices
from ..costs.tables import LITELLM, file_table, prices
from .budget_case import BudgetCase
from .databases import OnSQLite, rows
from .postgresql import OnPostgreSQL
from .samples import ended, interception, token_usage

PRICES = prices(file_table(LITELLM))
MODEL = "claude-opus-5-5"
COST = 1000 * 4000
"""Nanodollars of 1000 input tokens of that model."""


class RepriceTests(BudgetCase):
    """Tests for every database."""

    async def setUp(self) -> None:
        await super().setUp()
        self.rows = Store(self.url)
        self.addCleanup(self.rows.close)  # type: ignore[attr-defined]
        self.encode = self.rows.encoder(None)

    def add(
        self, count: int = 1, actor: str = "alice", model: str = MODEL, provider_name: str = "anthropic", **changes: Any
    ) -> None:
        """Store rows of tokens, each with an interception of its own."""
        tokens = {"input_tokens": 1000, "output_tokens": 0, "cache_read_input_tokens": 0, "cache_write_input_tokens": 0}
        plain = {"served_model": model, "service_tier": None, "cost_nanousd": None, "price_version": None}
        for _ in range(count):
            begun = interception(
                initiator_id=actor, provider_name=provider_name, started_at=utc_now(), credential_kind=CENTRALIZED
            )
            usage = token_usage(begun.id, created_at=utc_now(), **tokens | plain | changes)
            self.rows.commit([*map(self.encode, (begun, usage, ended(begun.id)))])

    def run_all(self, everything: bool = False, **since: Any) -> Repriced:
        steps = list(self.steps(everything, **since))
        return Repriced(*(sum(getattr(step, name) for step in steps) for name in ("rows", "priced", "unknown")))

    def steps(self, everything: bool = False, since: Any = None, by: Any = PRICES) -> Iterator[Repriced]:
        return reprice(self.rows, by, since or utc_now() - timedelta(days=1), everything)

    def costs(self) -> list[int | None]:
        found = sorted(rows(self.url, schema.token_usages), key=lambda row: (row["created_at"], row["id"]))
        return [row["cost_nanousd"] for row in found]

    async def test_missing(self) -> None:
        """Rows without a cost get that of their own model, tier and searches; others keep theirs."""
        self.add()
        self.add(served_model=None, cost_nanousd=5)
        self.add(model="nobody")
        self.add(metadata={"complete": True, "web_search_requests": 2})
        self.add(metadata={"complete": True, "billing": "subscription"})
        self.add(metadata={"complete": True, "ephemeral_1h_input_tokens": 100}, cache_write_input_tokens=300)
        assert self.run_all() == Repriced(5, 3, 2)
        writes = 200 * 5000 + 100 * 8000
        assert self.costs() == [COST, 5, None, COST + 20_000_000, None, COST + writes]
        kind = TokenUsageRecord.storage.table
        versions = {row["price_version"] for row in rows(self.url, schema.metadata.tables[kind])}
        assert versions == {None, PRICES.version}

    async def test_all(self) -> None:
        """With all of them, rows get the present prices; those that have no price keep what they have."""
        self.add(cost_nanousd=5, price_version="old")
        self.add(cost_nanousd=7, model="nobody", price_version="old")
        self.add(cost_nanousd=COST, price_version="old")
        assert self.run_all(True) == Repriced(3, 1, 1)
        assert self.costs() == [COST, 7, COST]
        dearer = prices(file_table({MODEL: LITELLM["claude-haiku-4-5"]}))
        assert [step.priced for step in self.steps(True, by=dearer)] == [2]
        assert self.costs() == [COST // 4, 7, COST // 4]

    async def test_clouds(self) -> None:
        """A cloud's rows are priced by the name that it was asked for, which tells the region."""
        served = "claude-sonnet-4-5-20250929"
        for region in ("global", "eu"):
            metadata = {"complete": True, "invoked_model": f"{region}.anthropic.{served}-v1:0"}
            self.add(model=served, metadata=metadata, provider_name="aws")
        assert [step.priced for step in self.steps(by=cloud_prices())] == [2]
        assert self.costs() == [3_000_000, 3_300_000]

    async def test_since(self) -> None:
        """Rows from before the date are left alone."""
        self.add()
        assert self.run_all(since=utc_now()) == Repriced(0, 0, 0)

    async def test_broken_off(self) -> None:
        """A run that is broken off keeps its steps, and the next one goes on behind them."""
        self.patch(module, "STEP_ROWS", 3)  # type: ignore[attr-defined]
        self.add(10, cost_nanousd=5, price_version="old")
        since = utc_now() - timedelta(days=1)
        assert count_priceable(self.rows, PRICES, since, True) == 10
        for _, step in zip(range(2), self.steps(True), strict=False):
            assert step.rows == 3
        assert self.costs() == [COST] * 6 + [5] * 4
        assert count_priceable(self.rows, PRICES, since, True) == 4
        assert self.run_all(True) == Repriced(4, 4, 0)
        assert self.costs() == [COST] * 10

    async def test_periods(self) -> None:
        """What rows cost now is in the periods of caps, in the same transaction."""
        self.add(2)
        cap, other = self.set(1), self.set(1, "actor", "bob")
        self.add(1, actor="bob")
        assert self.standing(cap) == (0, 0)
        assert self.run_all() == Repriced(3, 3, 0)
        assert (self.standing(cap), self.standing(other)) == ((3 * COST, 0), (COST, 0))
        self.check()


class SQLiteRepriceTests(RepriceTests, OnSQLite):
    pass


class PostgreSQLRepriceTests(RepriceTests, OnPostgreSQL):
    pass
