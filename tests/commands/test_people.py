"""The commands on people."""

import io
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from aibridge.commands import people
from aibridge.dumps.folder import exchange_path
from aibridge.identity import user_store
from aibridge.record import schema
from aibridge.record.claims import Claim, make_claim
from aibridge.record.leases import renew_lease
from aibridge.record.records import Record
from aibridge.record.recovery import erase_refused
from aibridge.record.store import Store
from aibridge.record.values import new_id

from ..record.databases import rows
from ..record.samples import exchange, interception, prompt
from .parts import CommandTestCase


class PeopleTestCase(CommandTestCase):
    """A database with an exchange of alice's."""

    def setUp(self) -> None:
        super().setUp()
        self.url = f"sqlite:///{self.home}/x.sqlite"
        self.spool = self.home / "spool"
        self.config = str(self.write("c.toml", f'database = {{ url = "{self.url}", spool_dir = "{self.spool}" }}'))
        self.commit(*exchange())

    def commit(self, *records: Record) -> None:
        """Store records."""
        with closing(Store(self.url)) as store:
            store.open()
            store.commit([store.encoder(None)(record) for record in records])

    def run_people(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command with this configuration."""
        return self.run_command(*arguments, "--config", self.config)

    def answer(self, text: str) -> None:
        """Sit at a terminal, and answer."""
        terminal = io.StringIO(text)
        self.patch(terminal, "isatty", lambda: True)
        self.patch(sys, "stdin", terminal)

    def actors(self) -> list[str]:
        """The actors of all interceptions."""
        return [row["initiator_id"] for row in rows(self.url, schema.interceptions)]


class UsersTests(PeopleTestCase):
    """``aibridge users``."""

    def test_life(self) -> None:
        """A user is listed, disabled, enabled again, and each of it once."""
        self.assertEqual(
            self.run_people("users", "list")[1].splitlines()[1].split(), ["alice", "0", "2026-01-31T12:00:00Z", "-"]
        )
        self.assertEqual(self.run_people("users", "disable", "alice"), (0, "alice is disabled\n", ""))
        self.assertEqual(self.run_people("users", "disable", "alice"), (0, "alice is disabled already\n", ""))
        self.assertRegex(self.run_people("users", "list")[1].splitlines()[1], r"T12:00:00Z  \d{4}-\d\d-\d\dT[\d:]+Z$")
        self.assertEqual(self.run_people("users", "enable", "alice"), (0, "alice is enabled\n", ""))
        status, _, err = self.run_people("users", "enable", "alice")
        self.assertEqual((status, err), (1, "command line: NAME: alice is not disabled\n"))
        self.assertEqual([row["action"] for row in rows(self.url, schema.audit)], ["disable user", "enable user"])

    def test_stranger(self) -> None:
        """A name that was never seen may be misspelt, which is said; it can be disabled nevertheless."""
        note = "no user nobody has been seen: nobody of that name has a key or has sent a request\n"
        told = self.run_people("users", "enable", "nobody")
        self.assertEqual(told, (1, "", f"{note}command line: NAME: nobody is not disabled\n"))
        self.assertEqual(self.run_people("users", "forget", "nobody", "--dry-run")[2], note)
        self.assertEqual(self.run_people("erase", "--actor", "nobody")[2], note)
        self.assertEqual(self.run_people("users", "disable", "nobody"), (0, "nobody is disabled\n", note))
        self.assertEqual(self.run_people("users", "forget", "nobody")[::2], (0, ""))

    def test_forget(self) -> None:
        """A forgotten user has no rows and no name, and stays disabled."""
        self.run_people("keys", "create", "--actor", "alice")
        self.assertEqual(self.run_people("users", "forget", "alice", "--dry-run")[0], 0)
        self.assertEqual(rows(self.url, schema.users), [])
        self.assertEqual(self.run_people("users", "forget", "alice")[0], 0)
        self.assertEqual((self.actors(), rows(self.url, schema.keys)), ([], []))
        [user] = rows(self.url, schema.users)
        self.assertTrue(user["actor"].startswith("sha256:"))
        self.assertEqual(self.run_people("users", "disable", "alice")[1], "alice is disabled already\n")

    def test_forget_while_a_gateway_runs(self) -> None:
        """The command waits until a running gateway refuses the user, whose last requests are erased too; but only once."""
        with closing(Store(self.url)) as store:
            store.open()
            with store.transaction() as connection:
                renew_lease(connection, new_id(), datetime.now(UTC), datetime.now(UTC))
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            if seconds > 1:
                slept.append(seconds)
                self.commit(*exchange())

        self.patch(people, "sleep", sleep)
        status, _, err = self.run_people("users", "forget", "alice")
        self.assertEqual((status, self.actors()), (0, []))
        self.assertEqual(err, "waiting 6 s, until every running gateway refuses alice\n")
        self.patch(user_store, "REFUSED_WITHIN", 0.0)
        self.assertEqual(self.run_people("users", "forget", "alice")[::2], (0, ""))
        self.assertEqual(len(slept), 1)

    def test_forget_asks(self) -> None:
        """On a terminal it asks before the user is disabled."""
        self.answer("n\n")
        status, out, err = self.run_people("users", "forget", "alice")
        self.assertEqual((status, out, self.actors()), (1, "", ["alice"]))
        self.assertRegex(err, r"^Disable alice, and erase everything of theirs from .*\? \[y/N\] nothing is deleted\n$")
        self.assertEqual(rows(self.url, schema.users), [])


class EraseTests(PeopleTestCase):
    """``aibridge erase``."""

    def erase(self, *arguments: str) -> tuple[int, str, str]:
        """Erase alice."""
        return self.run_people("erase", "--actor", "alice", *arguments)

    def test_dry_run(self) -> None:
        """A dry run says how much there is, and erases and records nothing."""
        told = (0, "1 interceptions would be erased; 0 are in progress\n", "")
        self.assertEqual(self.erase("--dry-run"), told)
        self.assertEqual((self.actors(), rows(self.url, schema.audit)), (["alice"], []))

    def test_pseudonym_of_somebody(self) -> None:
        """Nobody's figures are mixed with somebody else's; an erasure that is repeated has its own pseudonym again."""
        refused = "command line: --pseudonym: bob has keys or requests already; choose a name that is free\n"
        self.run_people("keys", "create", "--actor", "bob")
        for command in (["erase", "--actor"], ["users", "forget"]):
            told = self.run_people(*command, "alice", "--pseudonym", "bob")
            self.assertEqual((told, rows(self.url, schema.users)), ((1, "", refused), []))
        self.assertEqual(self.run_people("erase", "--actor", "bob", "--pseudonym", "alice")[0], 1)
        for _ in range(2):
            self.assertEqual(self.erase("--pseudonym", "someone")[0], 0)
            self.assertEqual(self.actors(), ["someone"])
        self.assertEqual(self.run_people("erase", "--actor", "bob", "--pseudonym", "someone")[0], 1)

    def test_dumps(self) -> None:
        """The dumps of erased exchanges are removed from the folders of all providers; others stay."""
        [row] = rows(self.url, schema.interceptions)
        folder = self.home / "dumps"
        for identity in (row["id"], new_id()):
            (folder / exchange_path(identity)).mkdir(parents=True)
        with Path(self.config).open("a") as file:
            file.write(f'\n[providers.anthropic]\ndump_dir = "{folder}"\n[providers.openai]\ndump_dir = ""\n')
        self.assertIn("1 dumps erased", self.erase()[1])
        self.assertEqual(len([*folder.glob("*/*")]), 1)

    def test_question(self) -> None:
        """On a terminal it asks; ``--yes`` answers in advance."""
        self.answer("\n")
        status, out, err = self.erase("--pseudonym", "someone")
        self.assertEqual((status, out), (1, ""))
        self.assertRegex(
            err, r"^Erase alice and 1 interceptions from .*, and keep their figures as someone\? \[y/N\] nothing is del"
        )
        self.answer("n\n")
        self.assertEqual(self.erase("--yes")[0], 0)
        self.assertEqual(self.actors(), [])

    def test_figures(self) -> None:
        """Figures stay under a name of the gateway's choice, or of the operator's; the person's own is refused."""
        status, out, _ = self.erase("--keep-figures")
        name = out.splitlines()[-1].removeprefix("the figures are kept under the name ")
        self.assertEqual((status, self.actors()), (0, [name]))
        self.assertRegex(name, "^erased-[0-9a-f]{8}$")
        self.assertEqual(self.run_people("erase", "--actor", name, "--pseudonym", "someone")[0], 0)
        self.assertEqual(self.actors(), ["someone"])
        status, _, err = self.erase("--pseudonym", "alice")
        self.assertEqual((status, err), (1, "command line: --pseudonym: must not be the name itself\n"))

    def test_in_progress(self) -> None:
        """What is in progress stays; the command says so, and fails."""
        self.commit(interception())
        status, out, err = self.erase()
        self.assertEqual((status, self.actors()), (1, ["alice"]))
        self.assertIn("1 interceptions erased\n", out)
        self.assertIn("not all is erased: 1 interceptions of alice are in progress or new; run the command again", err)

    def spooled(self, *records: Record) -> Claim:
        """A process of this machine with these rows in its spool."""
        claim = make_claim(self.spool, new_id())
        encoder = Store("sqlite://").encoder(None)
        with closing(claim.spool()) as spool:
            spool.append([encoder(record) for record in records])
        return claim

    def test_spool(self) -> None:
        """Rows that an ended process has left are erased, also those that the database had refused; others' are not."""
        self.commit(begun := interception(initiator_id="bob"))
        strange = "a value that no column takes"
        claim = self.spooled(*exchange(), prompt(begun.id))
        with closing(claim.spool()) as spool:
            # The database refuses rows whose interception it does not have: these stay in the spool.
            spool.append([Store("sqlite://").encoder(None)(prompt(new_id(), prompt=strange))])
        claim.release()
        self.run_people("db", "spool", "--flush")
        self.assertEqual(self.erase()[0], 0)
        self.assertEqual(self.actors(), ["bob"])
        self.assertEqual([row["prompt"] for row in rows(self.url, schema.user_prompts)], ["Grüße 👋"])

    def test_refused_rows(self) -> None:
        """A row of the person's own that the database refuses is removed from the spool's file."""
        owned = interception(initiator_id="alice", model="tangerine")
        self.commit(owned)
        claim = self.spooled(prompt(owned.id, prompt="tangerine"), prompt(new_id(), prompt="stays"))
        with closing(claim.spool()) as spool:
            batch = spool.read_batch()
            spool.remove(batch, {seq: "refused" for seq, *_ in batch})
        claim.release()
        with closing(Store(self.url)) as store:
            self.assertEqual(erase_refused(store, self.spool, "alice"), 1)
        content = b"".join(Path(file).read_bytes() for file in self.spool.iterdir())
        self.assertNotIn(b"tangerine", content)
        self.assertIn(b"stays", content)

    def test_spool_of_a_running_gateway(self) -> None:
        """Rows in the spool of a running gateway are left to it; the command says so, and fails."""
        self.addCleanup(self.spooled(*exchange()).release)
        status, _, err = self.erase()
        self.assertEqual(status, 1)
        self.assertIn("not all is erased: 6 rows wait in the spool of a running gateway, and may be alice's;", err)
