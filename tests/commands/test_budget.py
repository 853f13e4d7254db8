"""The commands ``aibridge budget …`` and ``aibridge cost reprice``."""

from contextlib import closing
from datetime import timedelta

from aibridge.record.database import open_engine
from aibridge.record.records import CENTRALIZED
from aibridge.record.schema import audit, budget_periods
from aibridge.record.store import Store
from aibridge.record.values import utc_now

from ..record.databases import rows
from ..record.samples import ended, interception, token_usage
from .parts import CommandTestCase


class BudgetCommandTests(CommandTestCase):
    """A database of its own, which the first command makes."""

    def setUp(self) -> None:
        super().setUp()
        self.url = f"sqlite:///{self.home}/x.sqlite"
        self.config = str(self.write("c.toml", f'[database]\nurl = "{self.url}"\n[budget]\ntimezone = "Asia/Tokyo"\n'))

    def budget(self, *arguments: str) -> tuple[int, str, str]:
        return self.run_command("budget", *arguments, "--config", self.config)

    def set(self, *arguments: str) -> str:
        """Set a cap, and return its id."""
        code, output, errors = self.budget("set", *arguments)
        self.assertEqual((code, errors), (0, ""), errors)
        return output.partition(":")[0]

    def spend(self, cost: int | None, **tokens: object) -> None:
        with closing(Store(self.url)) as store:
            encode = store.encoder(None)
            begun = interception(started_at=utc_now(), credential_kind=CENTRALIZED)
            usage = token_usage(begun.id, cost_nanousd=cost, created_at=utc_now(), **tokens)
            store.commit([*map(encode, (begun, usage, ended(begun.id)))])

    def test_life(self) -> None:
        """A cap is set, listed with what is spent, changed, checked and removed."""
        self.assertRegex(self.set("--actor", "alice", "--monthly", "12.50"), "^spl_[0-9a-f]{32}$")
        self.spend(10**9)
        id_ = self.set("--actor", "alice", "--monthly", "10")
        self.set("--group", "core", "--weekly", "none")
        self.set("--organization", "--daily", "0")
        code, output, _ = self.budget("list")
        lines = [line.split() for line in output.splitlines()]
        self.assertEqual(
            (code, lines[0][:8]), (0, ["ID", "SCOPE", "NAME", "PERIOD", "LIMIT", "SPENT", "RESERVED", "USED"])
        )
        shown = {tuple(line[1:]) for line in lines[1:]}
        self.assertEqual(
            {each[:-1] for each in shown},
            {
                ("organization", "-", "daily", "0.00", "1.00", "0.00", "100", "%"),
                ("group", "core", "weekly", "-", "1.00", "0.00", "-"),
                ("actor", "alice", "monthly", "10.00", "1.00", "0.00", "10", "%"),
            },
        )
        self.assertTrue(all(each[-1].endswith("T15:00Z") for each in shown), shown)  # midnight in Tokyo
        self.assertEqual(self.budget("check"), (0, "3 budgets, no difference\n", ""))
        self.assertEqual(self.budget("remove", id_)[:2], (0, f"{id_} is removed\n"))
        code, _, errors = self.budget("remove", id_)
        self.assertEqual((code, errors), (1, f"command line: ID: there is no budget {id_}\n"))
        entries = sorted(rows(self.url, audit), key=lambda row: row["created_at"])
        self.assertEqual(
            [(row["action"], row["subject"], row["details"]["limit_usd"]) for row in entries],
            [
                ("set budget", "alice", "12.50"),
                ("set budget", "alice", "10.00"),
                ("set budget", "core", None),
                ("set budget", "", "0.00"),
                ("remove budget", id_, "10.00"),
            ],
        )
        facts = {"id": id_, "scope": "actor", "period": "monthly", "limit_usd": "12.50"}
        self.assertEqual(entries[0]["details"], facts)
        self.assertTrue(all(row["origin"].startswith("command line of ") for row in entries))

    def test_difference(self) -> None:
        """The check says what differs, fails, and says how to mend it."""
        id_ = self.set("--actor", "alice", "--monthly", "10")
        engine = open_engine(self.url)
        with engine.begin() as connection:
            connection.execute(budget_periods.update().values(spent_nanousd=5 * 10**9, reserved_nanousd=10**7))
        engine.dispose()
        code, output, errors = self.budget("check")
        self.assertEqual(
            (code, output.splitlines()),
            (
                1,
                [
                    f"{id_}: monthly budget of alice: 5.00 USD spent, but the rows add up to 0.00",
                    f"{id_}: monthly budget of alice: 0.01 USD reserved, but the rows add up to 0.00",
                ],
            ),
        )
        self.assertEqual(errors, "1 of 1 budgets differ; setting a budget again sums it up anew\n")
        self.set("--actor", "alice", "--monthly", "10")
        self.assertEqual(self.budget("check")[0], 0)

    def test_wrong(self) -> None:
        """A limit is an amount with two digits at most, of one period and one owner."""
        for arguments in (
            ("--actor", "a", "--monthly", "-1"),
            ("--actor", "a", "--monthly", "0.001"),
            ("--actor", "a", "--monthly", "1e3"),
            ("--actor", "a"),
            ("--monthly", "1"),
            ("--actor", "a", "--monthly", "1", "--daily", "1"),
            ("--actor", "a", "--organization", "--daily", "1"),
        ):
            self.assertRaises(SystemExit, self.budget, "set", *arguments)
        self.assertRaises(SystemExit, self.budget, "remove", "nothing")

    def test_reprice(self) -> None:
        """Rows without a cost get one, and the command says how many."""
        self.set("--organization", "--monthly", "10")
        self.spend(None, served_model="claude-opus-5-5", service_tier=None)
        self.spend(None, served_model="nobody", service_tier=None)
        since = f"{utc_now() - timedelta(days=1):%Y-%m-%d}"
        code, output, _ = self.run_command("cost", "reprice", "--since", since, "--config", self.config)
        self.assertEqual(code, 0)
        first, second = output.splitlines()
        self.assertRegex(first, f"^2 rows since {since} 00:00 UTC, by genai-prices ")
        self.assertEqual(second, "1 have another cost now, 1 have no price")
        self.assertEqual(self.budget("check")[0], 0)
