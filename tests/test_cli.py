"""The operator's command."""

import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from aibridge import __version__
from aibridge.cli import main
from aibridge.record import migrations, schema
from aibridge.record.claims import make_claim
from aibridge.record.store import Store
from aibridge.record.values import new_id

from .record.databases import rows
from .record.samples import NOON, ended, exchange, interception


class CommandTests(SynchronousTestCase):
    """The command as it is typed."""

    def setUp(self) -> None:
        self.patch(os, "environ", {})
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def run_command(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, output and errors."""
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        return main(arguments), out.getvalue(), err.getvalue()

    def file(self, content: str) -> str:
        """A configuration."""
        path = self.folder / "aibridge.toml"
        path.write_text(content)
        return str(path)

    def test_words_of_errors(self) -> None:
        """A wrong argument is told in words of the manual, not of the code."""
        for arguments, words in (
            (["keys", "create", "--actor", ""], "'': must be printable text"),
            (["keys", "create", "--actor", "a", "--expires", "soon"], "'soon': must be a duration, such as 90d"),
            (["keys", "create", "--actor", "a", "--meta", "team"], "'team': must be NAME=VALUE"),
            (["keys", "revoke", "x"], "'x': must be an id, as aibridge keys list shows it"),
            (["db", "purge", "--before", "soon"], "'soon': must be a date such as 2026-01-31"),
        ):
            err = io.StringIO()
            self.patch(sys, "stderr", err)
            self.assertRaises(SystemExit, main, arguments)
            self.assertIn(words, err.getvalue())

    def test_version(self) -> None:
        """The version can be asked for."""
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        self.assertEqual(self.assertRaises(SystemExit, main, ["--version"]).code, 0)
        self.assertEqual(out.getvalue(), f"aibridge {__version__}\n")

    def test_check(self) -> None:
        """It prints every setting as it takes effect, and no secret."""
        os.environ["MINE"] = "hunter2"
        file = self.file("""
            [database]
            url = "postgresql+psycopg://u:hunter2@h/db"
            [providers.mine]
            type = "openai"
            api_key_env = "MINE"
            extra_headers = { X-Team = "hunter2" }
            proxy = "http://user:hunter2@proxy.test:3128"
            [providers.other]
            type = "anthropic"
            [prices.models."gpt-*"]
            input = 1
            output = 2.5
            from = 2026-12-01
            [mcp.wiki]
            url = "https://wiki.test/mcp?key=hunter2"
            proxy = "http://user:hunter2@proxy.test:3128"
            headers = { Authorization = "hunter2" }
            [mcp.files]
            transport = "stdio"
            command = "files"
            env_env = { KEY = "MINE" }
        """)
        status, out, err = self.run_command("config", "check", "--config", file)
        self.assertEqual((status, err), (0, ""))
        self.assertNotIn("hunter2", out)
        for line in (
            'url = "postgresql+psycopg://u:***@h/db"',
            "[providers.mine]",
            "api_key = (set)",
            'extra_headers = {"X-Team" = (set)}',
            "api_key = (not set)",
            "proxy = (set)",
            "proxy = (not set)",
            "drain_seconds = 30.0",
            "max_rounds = 25",
            'source = "genai-prices"',
            '[prices.models."gpt-*"]',
            "output = 2.5",
            "from = 2026-12-01",
            "[mcp.wiki]",
            'url = "https://wiki.test/mcp"',
            'headers = {"Authorization" = (set)}',
            'env = {"KEY" = (set)}',
        ):
            self.assertIn(line, out.splitlines())

    def test_check_warns(self) -> None:
        """Settings that look wrong are told in comments below the configuration."""
        file = self.file('[providers.anthropic]\nbase_url = "https://api.anthropic.com/v1"')
        status, out, _ = self.run_command("config", "check", "--config", file)
        warning = "# warning: providers.anthropic.base_url: has a /v1 too many; requests would go to …/v1/v1/…"
        verdict = "# The gateway can start with this configuration, with one warning."
        self.assertEqual((status, out.splitlines()[-2:]), (0, [warning, verdict]))

    def test_check_of_a_missing_folder(self) -> None:
        """Without a database that can be written, the gateway can't start."""
        file = self.file("[database]\nurl = 'sqlite:////nowhere/x.sqlite'")
        status, out, _ = self.run_command("config", "check", "--config", file)
        verdict = "# The gateway can't start with this configuration as this user, with one warning."
        self.assertEqual((status, out.splitlines()[-1]), (0, verdict))

    def test_check_finds_an_error(self) -> None:
        """A wrong file, or a wrong file of prices, is one line on stderr, and exit status 1."""
        file = self.file("[server]\nlisten = 1")
        status, out, err = self.run_command("config", "check", "--config", file)
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(err, f"{file}: server.listen: must be a string, not a whole number\n")
        file = self.file("[prices]\nfile = 'nowhere.json'")
        status, out, err = self.run_command("config", "check", "--config", file)
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(err, f"{Path(file).parent / 'nowhere.json'}: can't be read: No such file or directory\n")

    def test_database(self) -> None:
        """Tables are made on demand, and their revision can be asked for before and after."""
        url = f"sqlite:///{self.folder}/x.sqlite"
        status, before, _ = self.run_command("db", "current", "--database", url)
        self.assertEqual((status, before), (0, f"{url}: no tables yet\n"))
        status, upgraded, _ = self.run_command("db", "upgrade", "--database", url)
        self.assertEqual((status, self.run_command("db", "current", "--database", url)[1]), (0, upgraded))
        self.assertNotEqual(upgraded, before)

    def test_database_out_of_reach(self) -> None:
        """A database that can't be opened is one line on stderr, and exit status 1."""
        status, out, err = self.run_command("db", "current", "--database", "sqlite:////nowhere/x.sqlite")
        self.assertEqual((status, out, err.count("\n")), (1, "", 1))
        self.assertIn("unable to open database file", err)

    def keys(self, *arguments: str) -> tuple[int, str, str]:
        """A command about keys, on a database of this test's own."""
        return self.run_command("keys", *arguments, "--database", f"sqlite:///{self.folder}/x.sqlite")

    def test_create_a_key(self) -> None:
        """It prints the key alone, also where no gateway ever ran: the database that it makes is told beside it."""
        status, out, err = self.keys(
            "create", "--actor", "alice", "--meta", "team=core", "--meta", "a=b", "--expires", "90d"
        )
        self.assertEqual((status, err), (0, f"a new database is made: {(self.folder / 'x.sqlite').absolute()}\n"))
        self.assertRegex(out, r"\Aaib_[A-Za-z0-9_-]{43}\n\Z")
        listed = self.keys("list")[1].splitlines()
        self.assertEqual(listed[0].split(), ["ID", "ACTOR", "HINT", "CREATED", "EXPIRES", "REVOKED", "METADATA"])
        _, actor, hint, created, expires, *rest = listed[1].split()
        self.assertEqual((actor, hint, rest), ("alice", f"aib_...{out[-3:-1]}", ["-", "team=core", "a=b"]))
        self.assertEqual(datetime.fromisoformat(expires) - datetime.fromisoformat(created), timedelta(days=90))

    def test_revoke_a_key(self) -> None:
        """It ends the key of that id, which stays in the list; an id that isn't there is one line on stderr."""
        self.keys("create", "--actor", "alice")
        key_id = self.keys("list")[1].splitlines()[1].split()[0]
        for _ in range(2):  # the second one changes nothing
            self.assertEqual(self.keys("revoke", key_id), (0, f"{key_id} is revoked\n", ""))
        entries = sorted(rows(f"sqlite:///{self.folder}/x.sqlite", schema.audit), key=lambda row: row["created_at"])
        self.assertEqual(
            [(row["action"], row["subject"]) for row in entries], [("create key", "alice"), ("revoke key", key_id)]
        )
        self.assertEqual(entries[0]["details"], {"key": key_id, "expires_at": None, "console_role": None})
        self.assertRegex(self.keys("list")[1].splitlines()[1].split()[-1], r"\d{4}-\d\d-\d\dT")
        other = "00000000-0000-0000-0000-000000000000"
        self.assertEqual(self.keys("revoke", other), (1, "", f"command line: ID: there is no key {other}\n"))

    def test_default_database(self) -> None:
        """Without file and URL, commands use the database of this folder if there is one, say so, and make none."""
        here = Path.cwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.folder)
        commands = (
            ["db", "current"],
            ["db", "upgrade"],
            ["db", "spool", "--flush"],
            ["db", "purge", "--before", "2026-01-31"],
            ["export"],
            ["keys", "create", "--actor", "alice"],
            ["keys", "list"],
        )
        for command in commands:
            status, out, err = self.run_command(*command)
            self.assertEqual((status, out, err.count("\n")), (1, "", 1), command)
            self.assertIn(f"there is no {Path.cwd()}/aibridge.sqlite: give --config FILE or --database URL", err)
        self.assertEqual([*Path.cwd().iterdir()], [])
        Store("sqlite:///aibridge.sqlite").open()
        for command in commands:
            status, _, err = self.run_command(*command)
            self.assertEqual((status, err.count("\n")), (0, 1), command)
            self.assertIn(f"database: {Path.cwd()}/aibridge.sqlite, since", err)
        os.environ["AIBRIDGE_DATABASE__URL"] = "sqlite:///aibridge.sqlite?timeout=5"
        self.assertEqual(self.run_command("keys", "list")[2], "")

    def test_reading_makes_nothing(self) -> None:
        """Commands that read make no database and no tables, and upgrade none: that is said, and left to db upgrade."""
        path = self.folder / "x.sqlite"
        database = ("--database", f"sqlite:///{path}")
        commands = (["export"], ["keys", "list"], ["db", "purge", "--before", "2026-01-31"])
        for command in commands:
            status, out, err = self.run_command(*command, *database)
            self.assertEqual((status, out), (1, ""))
            self.assertIn("has no tables yet: run aibridge db upgrade", err)
        self.assertEqual(self.run_command("db", "current", *database)[0], 0)
        self.assertFalse(path.exists())
        migrations.upgrade(f"sqlite:///{path}")
        migrations.downgrade(f"sqlite:///{path}", "0003")
        for command in (*commands, ["keys", "create", "--actor", "alice"]):
            status, out, err = self.run_command(*command, *database)
            self.assertEqual((status, out), (1, ""), command)
            self.assertIn("of revision 0003", err)
        self.assertIn(": 0003", self.run_command("db", "current", *database)[1])

    def test_newer_database(self) -> None:
        """A database that a later version has upgraded is used by no command and no gateway, and that is said."""
        path = self.folder / "x.sqlite"
        migrations.upgrade(f"sqlite:///{path}")
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'")
            connection.commit()
        for command in (["db", "upgrade"], ["keys", "list"], ["export"]):
            status, out, err = self.run_command(*command, "--database", f"sqlite:///{path}")
            self.assertEqual((status, out, err.count("\n")), (1, "", 1))
            self.assertIn("a later version of aibridge has upgraded it to revision 9999; aibridge", err)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("INSERT INTO aibridge_versions VALUES ('9999', '7.1', '2030-01-01')")
            connection.commit()
        err = self.run_command("db", "upgrade", "--database", f"sqlite:///{path}")[2]
        self.assertIn("aibridge 7.1 has upgraded it to revision 9999; aibridge", err)
        self.assertIn("Use 7.1, or a newer one", err)

    def test_downgrade(self) -> None:
        """The tables go back to an earlier revision, after a question; a revision that is none is told with those that
        are."""
        database = ("--database", f"sqlite:///{self.folder}/x.sqlite")
        self.run_command("db", "upgrade", *database)
        status, _, err = self.run_command("db", "downgrade", "7", *database)
        self.assertEqual(status, 1)
        self.assertIn("command line: REVISION: there is no revision 7; there are 0001, 0002, ", err)
        terminal = io.StringIO("\n")
        self.patch(terminal, "isatty", lambda: True)
        self.patch(sys, "stdin", terminal)
        self.assertEqual(self.run_command("db", "downgrade", "0007", *database)[0], 1)
        self.assertEqual(self.run_command("db", "downgrade", "0007", "--yes", *database)[1][-5:], "0007\n")
        self.assertNotIn("0007", self.run_command("db", "upgrade", *database)[1])

    def test_private_files(self) -> None:
        """The database, its companions, exports and spools are their owner's only, whatever the umask."""
        self.addCleanup(os.umask, os.umask(0o022))
        path = self.folder / "x.sqlite"
        with closing(Store(f"sqlite:///{path}")) as store:
            store.open()
            with store.transaction() as connection:
                connection.exec_driver_sql("DELETE FROM aibridge_keys")
                names = {file.name: file.stat().st_mode & 0o777 for file in self.folder.iterdir()}
        self.assertEqual(names, dict.fromkeys(["x.sqlite", "x.sqlite-wal", "x.sqlite-shm"], 0o600))
        out = self.folder / "out"
        self.run_command("export", "--database", f"sqlite:///{path}", "--output", str(out))
        self.assertEqual(out.stat().st_mode & 0o777, 0o600)
        claim = make_claim(self.folder / "spool", new_id())
        with closing(claim.spool()) as spool:
            spool.append([Store("sqlite://").encoder(None)(exchange()[0])])
            modes = {file.suffix: file.stat().st_mode & 0o777 for file in spool.path.parent.iterdir()}
        self.assertEqual(modes, dict.fromkeys([".lock", ".spool", ".spool-wal", ".spool-shm"], 0o600))
        self.assertEqual(spool.path.parent.stat().st_mode & 0o777, 0o700)

    def test_wrong_words_about_keys(self) -> None:
        """What can't be meant is refused before anything is written."""
        for words in (
            ["create", "--actor", ""],
            ["create", "--actor", "alice", "--expires", "soon"],
            ["create", "--actor", "alice", "--meta", "team"],
            ["revoke", "alice"],
            ["revoke"],
        ):
            self.assertEqual(self.assertRaises(SystemExit, self.keys, *words).code, 2, words)
        self.assertEqual(self.keys("create"), (1, "", "command line: --actor: missing; give the key's owner\n"))
        self.assertEqual([*self.folder.iterdir()], [])

    def test_create_a_key_of_the_console(self) -> None:
        """A key for the console has a role, and needs no owner; the list shows the role."""
        self.assertRegex(self.keys("create", "--console", "auditor")[1], r"\Aaib_[A-Za-z0-9_-]{43}\n\Z")
        self.assertRegex(self.keys("list")[1].splitlines()[1], r" console .* console=auditor$")

    def test_spool(self) -> None:
        """It shows what waits on this machine, and moves what a process that has ended left."""
        database, folder = self.folder / "x.sqlite", self.folder / "spool"
        file = self.file(f'database = {{ url = "sqlite:///{database}", spool_dir = "{folder}" }}')
        command = ("db", "spool", "--config", file)
        self.assertEqual(self.run_command(*command), (0, f"{folder}: nothing is spooled\n", ""))
        encoder = Store("sqlite://").encoder(None)
        claim = make_claim(folder, new_id())
        spool = claim.spool()
        spool.append([encoder(record) for record in exchange()])
        spool.close()
        self.assertIn(f"{claim.process_id}  running  6     0\n", self.run_command(*command)[1])
        self.assertIn("0 rows moved", self.run_command(*command, "--flush")[1])
        claim.release()
        self.assertIn(f"{claim.process_id}  ended  6     0\n", self.run_command(*command)[1])
        self.assertEqual(
            self.run_command(*command, "--flush"),
            (0, f"6 rows moved to sqlite:///{database}\n{folder}: nothing is spooled\n", ""),
        )
        self.assertEqual(list(folder.iterdir()), [])

    def records(self, *arguments: str) -> tuple[int, str, str]:
        """A command about records, of which there are two: alice's at noon, 2026-01-31, and bob's an hour later."""
        path = self.folder / "records.sqlite"
        if not path.exists():
            with closing(Store(f"sqlite:///{path}")) as store:
                store.open()
                later = interception(initiator_id="bob", started_at=NOON + timedelta(hours=1))
                encoder = store.encoder(None)
                store.commit([encoder(record) for record in (*exchange(), later, ended(later.id))])
        return self.run_command(*arguments, "--database", f"sqlite:///{path}")

    def actors(self, *arguments: str) -> list[str]:
        """Whose interceptions are exported."""
        return [json.loads(line)["initiator_id"] for line in self.records("export", *arguments)[1].splitlines()]

    def test_purge(self) -> None:
        """It deletes what is older than a date or a time, in UTC unless that says otherwise, and tells how many."""
        for before, told in (
            ("2026-01-31", "0 interceptions deleted\n"),
            ("2026-01-31T13:30+01:00", "1 interceptions deleted\n"),
            ("2026-01-31T12:30", "0 interceptions deleted\n"),
            ("2026-02-01", "1 interceptions deleted\n"),
        ):
            self.assertEqual(self.records("db", "purge", "--before", before), (0, told, ""))

    def test_purge_asks(self) -> None:
        """On a terminal it asks first; a dry run deletes nothing; a date in the future is a mistake."""
        before = ("db", "purge", "--before", "2026-02-01")
        self.assertEqual(self.records(*before, "--dry-run"), (0, "2 interceptions would be deleted\n", ""))
        for answer, status, out, err in (
            ("\n", 1, "", "nothing is deleted\n"),
            ("no\n", 1, "", "nothing is deleted\n"),
            ("y\n", 0, "2 interceptions deleted\n", ""),
        ):
            terminal = io.StringIO(answer)
            self.patch(terminal, "isatty", lambda: True)
            self.patch(sys, "stdin", terminal)
            asked = self.records(*before)
            self.assertEqual((asked[0], asked[1]), (status, out))
            self.assertRegex(asked[2], rf"^Delete 2 interceptions before 2026-02-01 00:00 UTC from .*\? \[y/N\] {err}$")
        self.assertEqual(self.records(*before)[1], "0 interceptions deleted\n")
        status, _, err = self.records("db", "purge", "--before", "2999-01-01")
        self.assertEqual((status, err), (1, "command line: --before: 2999-01-01 00:00 UTC is in the future\n"))

    def test_purge_without_a_question(self) -> None:
        """A program's terminal is none, and ``--yes`` answers in advance."""
        terminal = io.StringIO("n\n")
        self.patch(terminal, "isatty", lambda: True)
        self.patch(sys, "stdin", terminal)
        told = (0, "1 interceptions deleted\n", "")
        self.assertEqual(self.records("db", "purge", "--before", "2026-01-31T12:30", "--yes"), told)
        self.patch(sys, "stdin", io.StringIO("n\n"))
        self.assertEqual(self.records("db", "purge", "--before", "2026-02-01"), told)

    def test_export(self) -> None:
        """It writes a line for each interception, of a span, of an actor, as JSON or as a table."""
        self.assertEqual(self.actors(), ["alice", "bob"])
        self.assertEqual(self.actors("--since", "2026-01-31T13:00Z", "--until", "2026-02-01"), ["bob"])
        self.assertEqual(self.actors("--until", "2026-01-31T13:00"), ["alice"])
        self.assertEqual(self.actors("--actor", "alice"), ["alice"])
        status, table, err = self.records("export", "--format", "csv")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual([row["output_tokens"] for row in csv.DictReader(io.StringIO(table))], ["7", "0"])

    def test_ascii(self) -> None:
        """Where the locale knows ASCII only, an export is UTF-8, and other output is escaped."""
        url = f"sqlite:///{self.folder}/x.sqlite"
        with closing(Store(url)) as store:
            store.open()
            store.commit([store.encoder(None)(interception(initiator_id="Zoë"))])
        self.run_command("keys", "create", "--actor", "Zoë", "--database", url)
        for command, expected in (("export", "Zoë".encode()), ("keys list", b"Zo\\xeb")):
            written = io.BytesIO()
            self.patch(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
            self.assertEqual(main([*command.split(), "--database", url]), 0)
            self.assertIn(expected, written.getvalue())

    def test_wrong_parameter(self) -> None:
        """A parameter of the database's URL that the driver does not take is one line."""
        status, out, err = self.run_command("db", "current", "--database", "postgres://u:hunter2@h/db?mode=hunter2")
        words = "command line: --database: has the parameter mode, which psycopg does not take here\n"
        self.assertEqual((status, out, err), (1, "", words))

    def test_export_to_a_file(self) -> None:
        """It writes to a file where it is told so; one that can't be written is one line on stderr."""
        file = self.folder / "out.jsonl"
        self.assertEqual(self.records("export", "--output", str(file)), (0, "", ""))
        self.assertEqual(file.read_text("utf-8"), self.records("export")[1])
        status, out, err = self.records("export", "--output", str(file), "--actor", "nobody")
        self.assertEqual((status, err), (1, f"command line: --output: {file} exists; give --force to write over it\n"))
        self.assertNotEqual(file.read_text("utf-8"), "")
        self.assertEqual(self.records("export", "--output", str(file), "--actor", "nobody", "--force")[0], 0)
        self.assertEqual(file.read_text("utf-8"), "")
        status, out, err = self.records("export", "--output", str(self.folder))
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(err, f"command line: --output: {self.folder}: Is a directory\n")

    def test_wrong_words_about_records(self) -> None:
        """A date that is none, and a form that isn't there, are refused."""
        for words in (["db", "purge"], ["db", "purge", "--before", "soon"], ["export", "--format", "xml"]):
            self.assertEqual(self.assertRaises(SystemExit, self.records, *words).code, 2, words)

    def test_read_no_further(self) -> None:
        """An export ends without a word once its reader has enough, as head has; on a full disk with one line."""
        self.records("export")
        reading, writing = os.pipe()
        os.close(reading)
        self.assertEqual(self.exported_to(writing), (141, b""))
        full = os.open("/dev/full", os.O_WRONLY)
        self.assertEqual(self.exported_to(full), (1, b"standard output: No space left on device\n"))

    def exported_to(self, writing: int) -> tuple[int, bytes]:
        """Exit status and errors of an export in a process of its own, with that standard output."""
        script = "import sys; from aibridge.cli import main; sys.exit(main(sys.argv[1:]))"
        database = f"sqlite:///{self.folder}/records.sqlite"
        path = os.pathsep.join(filter(None, sys.path))
        done = subprocess.run(
            [sys.executable, "-c", script, "export", "--database", database],
            stdout=writing,
            stderr=subprocess.PIPE,
            env={"PYTHONPATH": path},
            check=False,
        )
        os.close(writing)
        return done.returncode, done.stderr

    def test_spool_of_refused_rows(self) -> None:
        """Rows that the database has refused stay in sight, and are tried again when all is flushed."""
        database, folder = self.folder / "x.sqlite", self.folder / "spool"
        file = self.file(f'database = {{ url = "sqlite:///{database}", spool_dir = "{folder}" }}')
        command = ("db", "spool", "--flush", "--config", file)
        claim = make_claim(folder, new_id())
        spool = claim.spool()
        spool.append([Store("sqlite://").encoder(None)(exchange()[1])])
        spool.close()
        claim.release()
        for _ in range(2):
            out = self.run_command(*command)[1]
            self.assertEqual(out.splitlines()[0], f"1 rows moved to sqlite:///{database}")
            self.assertEqual(out.splitlines()[2].split(), [str(claim.process_id), "ended", "0", "1"])
