"""``aibridge doctor`` finds planted faults, and says how to mend each."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import namedtuple
from contextlib import closing
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from sqlalchemy import make_url, text
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

import aibridge
from aibridge import AnthropicProvider
from aibridge.commands.database_checks import check_database
from aibridge.commands.findings import BROKEN, Finding, run_check
from aibridge.commands.remote_checks import check_provider
from aibridge.config.loader import load_config
from aibridge.record import migrations
from aibridge.record.database import open_engine
from aibridge.testing.network import MemoryNetwork

from ..record.postgresql import OnPostgreSQL
from .doctoring import DoctorTestCase, free_port
from .parts import CommandTestCase


class LocalFaultTests(DoctorTestCase):
    """Faults on this machine; nothing is asked of providers."""

    def test_sound(self) -> None:
        """Without a fault nothing but ``ok`` is said, the status is 0, and nothing is made or changed."""
        status, out, err = self.examine()
        self.assertEqual((status, err), (0, ""))
        self.assertEqual({line.split()[0] for line in out.splitlines()[:-1]}, {"ok"})
        self.assertEqual(out.splitlines()[-1], "nothing is broken, 0 warnings")
        self.assertEqual([path.name for path in self.home.iterdir()], ["aibridge.toml"])

    def test_sound_database(self) -> None:
        """A database with this version's tables is right, and is not written."""
        migrations.upgrade(f"sqlite:///{self.home}/x.sqlite")
        (self.home / "x.sqlite").chmod(0o600)
        before = (self.home / "x.sqlite").read_bytes()
        status, out, _ = self.examine()
        self.assertEqual((status, out.splitlines()[-1]), (0, "nothing is broken, 0 warnings"))
        self.assertIn("its tables are those of this version", out)
        self.assertEqual((self.home / "x.sqlite").read_bytes(), before)

    def test_wrong_setting(self) -> None:
        """A setting that can't be used."""
        status, out, err = self.examine(limits="concurrent = 0")
        self.assertEqual((status, out.splitlines()[0].split()[0]), (1, "broken"))
        self.assertIn("limits.concurrent: must be at least 1", out)
        self.assertIn("nothing else was looked at", err)

    def test_base_url(self) -> None:
        """A base URL to which the gateway would add too much."""
        self.assert_found("warning", "a /v1 too many", providers__anthropic='base_url = "https://api.anthropic.com/v1"')

    def test_unset_variable(self) -> None:
        """A variable that the file names and the environment lacks."""
        self.assert_found(
            "warning",
            "the variable MY_KEY is not set",
            "set it where the gateway starts",
            providers__openai='api_key_env = "MY_KEY"',
        )

    def test_readable_secrets(self) -> None:
        """A configuration file with a key, and files of keys, that others can read."""
        self.write("key", "sk-secret-in-file").chmod(0o644)
        self.assert_found("warning", "/key: other users", "chmod 600", providers__openai='api_key_file = "key"')
        self.assert_found("warning", "/key: other users", "chmod 600", providers__openai='api_key_files = ["key"]')
        path = self.write("open.toml", '[providers.openai]\napi_key = "sk-secret"\n')
        path.chmod(0o644)
        out = self.run_command("doctor", "--offline", "--config", str(path))[1]
        self.assertIn(f"{path}: other users can reach it, and it contains secrets", out)
        self.assertNotIn("sk-secret", out)

    def test_unused_file(self) -> None:
        """A file in this folder that no option names."""
        before = Path.cwd()
        os.chdir(self.home)
        self.addCleanup(os.chdir, before)
        self.write("aibridge.toml", "")
        out = self.run_command("doctor", "--offline")[1]
        self.assertIn("aibridge.toml: in this folder, but not used", out)

    def test_no_folder_of_database(self) -> None:
        """A database in a folder that is not there."""
        self.assert_found(
            "broken",
            "/nowhere/x.sqlite can't be written",
            "make its folder",
            database='url = "sqlite:////nowhere/x.sqlite"',
        )

    def test_no_database(self) -> None:
        """A file that is no database."""
        self.write("x.sqlite", "text" * 1000).chmod(0o600)
        self.assert_found("broken", "file is not a database", "backup")

    def test_damaged_database(self) -> None:
        """A page of the database has been overwritten."""
        database = self.home / "x.sqlite"
        migrations.upgrade(f"sqlite:///{database}")
        with database.open("r+b") as file:
            file.seek(8 * 4096)
            file.write(b"x" * 4096)
        self.assert_found("broken", "x.sqlite: damaged: ", "backup")

    def test_newer_database(self) -> None:
        """A database that a later version has upgraded."""
        migrations.upgrade(f"sqlite:///{self.home}/x.sqlite")
        with closing(sqlite3.connect(self.home / "x.sqlite")) as connection, connection:
            connection.execute(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'")
        self.assert_found("broken", "9999", "or a newer one")

    def test_older_database(self) -> None:
        """A database with the tables of an earlier version: the gateway upgrades it, so nothing is broken."""
        migrations.upgrade(f"sqlite:///{self.home}/x.sqlite")
        migrations.downgrade(f"sqlite:///{self.home}/x.sqlite", "-1")
        self.assert_found("warning", "is needed", "aibridge db upgrade")

    def test_server_away(self) -> None:
        """A database server that is not reached; its password is not shown."""
        url = f"postgresql+psycopg://u:hunter2secret@127.0.0.1:{free_port()}/x"
        self.assert_found("broken", "Connection refused", "start the server", database=f'url = "{url}"')
        self.assertNotIn("hunter2secret", "".join(map(str, self.examine(database=f'url = "{url}"'))))

    def test_spool_is_no_folder(self) -> None:
        """A file where the spool's folder is to be."""
        self.write("spool", "")
        self.assert_found("broken", "database.spool_dir:", "set it to a folder")

    def test_disk(self) -> None:
        """A disk that is full, or may be before the spool is."""
        usage = namedtuple("usage", "total used free")
        self.patch(shutil, "disk_usage", lambda path: usage(2**40, 2**40, 2**20))
        self.assert_found("broken", "1 MiB are free", "make room")
        self.patch(shutil, "disk_usage", lambda path: usage(2**40, 2**40, 2**29))
        self.assert_found("warning", "less than database.spool_max_bytes", "make room")

    def test_used_port(self) -> None:
        """A port that another program has."""
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            port = server.getsockname()[1]
            self.assert_found(
                "broken",
                f"port {port} is in use by another program",
                "ss -ltnp",
                server=f'listen = "{port}"\nadmin_listen = "off"',
            )

    def test_foreign_address(self) -> None:
        """An address that this machine does not have."""
        self.assert_found(
            "broken",
            "can't listen on tcp:8080:interface=192.0.2.1",
            "an address of this machine",
            server='listen = "192.0.2.1:8080"\nadmin_listen = "off"',
            auth="allow_anonymous = true",
        )

    def test_no_folder_of_socket(self) -> None:
        """A socket in a folder that is not there."""
        self.assert_found(
            "broken",
            "no socket can be made in /nowhere",
            "make /nowhere",
            server='listen = "unix:/nowhere/x.sock"\nadmin_listen = "off"',
        )


class PostgreSQLTests(OnPostgreSQL):
    """Faults of a PostgreSQL database."""

    timeout = 60

    def run_sql(self, *statements: str) -> None:
        engine = open_engine(self.url)
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()

    def examine(self, url: str) -> tuple[str, str]:
        """State and text of the finding on the database."""
        config = load_config(None, {}, {"--database": (("database", "url"), url)})
        [finding] = check_database(config)
        return finding.state, finding.text

    def test_sound(self) -> None:
        """A database without tables, and one with them, is right."""
        self.assertEqual(self.examine(self.url)[0], "ok")
        migrations.upgrade(self.url)
        state, what = self.examine(self.url)
        self.assertEqual((state, "are those of this version" in what), ("ok", True))

    def test_no_rights(self) -> None:
        """A user who may read the records, and not add to them."""
        migrations.upgrade(self.url)
        user = f"reader_{make_url(self.url).database}"
        self.run_sql(f"CREATE ROLE {user} LOGIN", f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}")
        state, what = self.examine(make_url(self.url).set(username=user).render_as_string(hide_password=False))
        self.assertEqual((state, "may not add rows to aibridge_interceptions" in what), ("broken", True))

    def test_read_only(self) -> None:
        """A server that takes no writes, such as a standby."""
        migrations.upgrade(self.url)
        state, what = self.examine(f"{self.url}?options=-c%20default_transaction_read_only%3Don")
        self.assertEqual((state, "it is read-only" in what), ("broken", True))


class TimeTests(SynchronousTestCase):
    """The bounds of a check."""

    def test_slow_check(self) -> None:
        """A check that takes too long is a finding, and what it found before stays."""
        stop = threading.Event()
        self.addCleanup(stop.set)

        def check():
            yield Finding("ok", "first")
            stop.wait(60)

        first, late = run_check("database", check, timeout=0.1)
        self.assertEqual((first.text, late.state), ("first", BROKEN))
        self.assertEqual(late.text, "database: no result within 0.1 seconds")

    def test_failing_check(self) -> None:
        """A check that fails by itself is a finding."""
        [finding] = run_check("spool", lambda: [1 / 0])
        self.assertEqual(finding.text, "spool: the check failed: ZeroDivisionError: division by zero")

    def test_silent_provider(self) -> None:
        """A provider that does not respond is given up after ten seconds."""
        network = MemoryNetwork()
        network.serve(9000, Factory.forProtocol(Protocol))
        provider = AnthropicProvider(base_url="http://192.0.2.9:9000", api_key="k")
        found = Deferred.fromCoroutine(check_provider(provider, network))
        network.wait(9)
        self.assertNoResult(found)
        network.wait(2)
        [finding] = self.successResultOf(found)
        self.assertEqual((finding.state, "within 10 seconds" in finding.text), (BROKEN, True))


class FakeProvider(BaseHTTPRequestHandler):
    """A provider that accepts one key, and whose clock is an hour late."""

    def do_GET(self) -> None:
        is_right = self.headers["Authorization"] == "Bearer sk-right-key" and self.path == "/v1/models"
        statuses = {"/down/v1/models": 503, "/bare/v1/models": 404}
        self.send_response_only(statuses.get(self.path, 200 if is_right else 401))
        self.send_header("Date", formatdate(time.time() - 3600, usegmt=True))
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class RemoteFaultTests(CommandTestCase):
    """Faults that only requests show, each found in one run of the command."""

    def test_faults(self) -> None:
        """A wrong key, a provider that is down, a clock, a missing program, a dead MCP server; and no secret."""
        server = HTTPServer(("127.0.0.1", 0), FakeProvider)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here, down = f"http://127.0.0.1:{server.server_port}", f"http://127.0.0.1:{free_port()}"
        config = self.write(
            "aibridge.toml",
            f"""
            [server]
            listen = "{free_port()}"
            admin_listen = "off"
            [database]
            url = "sqlite:///{self.home}/x.sqlite"
            [auth]
            mode = "jwt"
            issuer = "i"
            audience = "a"
            jwks_url = "{down}/keys"
            [providers.right]
            type = "openai"
            base_url = "{here}/v1"
            api_key = "sk-right-key"
            [providers.wrong]
            type = "openai"
            base_url = "{here}/v1"
            api_key = "sk-wrong-key"
            [providers.several]
            type = "openai"
            base_url = "{here}/v1"
            api_keys = ["sk-right-key", "sk-other-0123456789"]
            [providers.down]
            type = "openai"
            base_url = "{here}/down/v1"
            [providers.bare]
            type = "openai"
            base_url = "{here}/bare/v1"
            api_key = "sk-right-key"
            [providers.keyless]
            type = "openai"
            base_url = "{here}/v1"
            [providers.behind]
            type = "openai"
            base_url = "https://api.example/v1"
            proxy = "{down}"
            [providers.away]
            type = "anthropic"
            base_url = "{down}"
            api_key = "sk-other-key"
            [mcp.files]
            transport = "stdio"
            command = "no-such-program"
            [mcp.wiki]
            url = "{down}/mcp?key=sk-query-key"
        """,
        )
        config.chmod(0o600)
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from aibridge.cli import main; sys.exit(main())",
                "doctor",
                "--config",
                str(config),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            env={"PYTHONPATH": str(Path(aibridge.__file__).parent.parent), "PATH": os.defpath},
        )
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertNotIn("sk-", done.stdout + done.stderr)
        for line in (
            f"ok       provider right: {here}/v1 responds and accepts the configured key",
            f"broken   provider wrong: {here}/v1 refuses the configured key with 401",
            f"ok       provider several: {here}/v1 responds and accepts the configured key no. 1",
            f"broken   provider several: {here}/v1 refuses the configured key no. 2 with 401",
            f"broken   provider away: {down.removeprefix('http://')} refused the connection",
            f"broken   provider down: {here}/down/v1 responds with 503",
            f"warning  provider bare: {here}/bare/v1 has no list of models (404)",
            f"ok       provider keyless: {here}/v1 responds; there is no providers.keyless.api_key, so each client sends its own key",
            "broken   mcp.files: stdio:no-such-program: No such file or directory",
        ):
            self.assertIn(line, done.stdout.splitlines())
        self.assertRegex(done.stdout, r"broken   provider behind: .*proxy.*refused")
        self.assertRegex(done.stdout, r"broken   clock: 3[56]\d\d seconds ahead of the clock of provider right")
        self.assertRegex(done.stdout, r"broken   auth.jwks_url: .*/keys: .*refused")
        self.assertRegex(done.stdout, r"broken   mcp.wiki: .*/mcp: ")
        self.assertIn("9 broken, 1 warning", done.stderr)
