"""``twistd aibridge --workers 2``, as its users and its operator meet it."""

import os
import signal
import socket
import stat
from pathlib import Path
from typing import Any

from aibridge.record import schema

from ..chain.apis import MESSAGES
from ..record.databases import rows
from ..record.postgresql import OnPostgreSQL
from .gateway import LONG, WorkersTestCase


class DeathTests(WorkersTestCase):
    """A worker is killed, or their parent."""

    async def test_worker(self) -> None:
        """Its requests are interrupted, the other goes on, no connection is refused, and a new one takes its place."""
        await self.start_gateway()
        streams = await self.streams_in_both()
        victim, counted, pipes = self.workers()[0], await self.sample("prompts_total"), self.open_pipes()
        os.kill(victim, signal.SIGKILL)
        for _ in range(4):
            self.assertEqual(await self.status(), 200)
        report = await self.until_ready(False)
        gone = [each for each in report.values() if type(each) is dict and not each["ready"]]
        self.assertEqual(gone, [{"ready": False, "detail": "ended with signal 9 (SIGKILL)"}])
        report = await self.until_ready()
        self.assertEqual(sorted(report[f"worker {number}"]["pid"] for number in (1, 2)), sorted(self.workers()))
        self.assertEqual(self.open_pipes(), pipes)
        lost = [client for client in streams if client.closed]
        self.assertTrue(0 < len(lost) < len(streams))
        await self.until_status("interrupted", len(lost))
        self.assertEqual(len(self.with_status("in_progress")), len(streams) - len(lost))
        self.assertEqual(await self.sample("worker_restarts_total"), 1)
        self.assertGreaterEqual(await self.sample("prompts_total"), counted)
        self.assertEqual(await self.sample("interceptions_inflight"), len(streams) - len(lost))
        self.assertRegex(self.gateway.printed, r"\[worker [12]: aibridge\.interception_metrics#info\] Unknown")
        for client in streams:
            client.leave()
        self.process.signalProcess("TERM")
        self.assertEqual(await self.gateway.ended, 0, self.gateway.printed)
        self.assertEqual(len(rows(self.database, schema.processes)), 3)
        self.assertEqual([*(self.folder / "aibridge-spool").glob("*.spool*")], [])

    async def test_parent(self) -> None:
        """Its workers end soon after it, whatever is under way, and record that."""
        await self.start_gateway()
        streams, workers = await self.streams_in_both(), self.workers()
        self.process.signalProcess("KILL")
        for client in streams:
            await client.when(lambda client=client: client.closed)
            self.assertTrue(MESSAGES.error_event(bytes(client.answer.body))["message"])
        await self.until(lambda: not any(is_alive(pid) for pid in workers))
        self.assertEqual(len(self.with_status("failed")), len(streams))
        self.assertEqual([row for row in rows(self.database, schema.processes) if row["ended_at"] is None], [])


class DeathOnPostgreSQLTests(OnPostgreSQL, DeathTests):
    """The same with a database server."""

    def setUp(self) -> None:
        OnPostgreSQL.setUp(self)
        DeathTests.setUp(self)
        self.database = self.url


class StopTests(WorkersTestCase):
    """The end of all together."""

    async def test_drain(self) -> None:
        """SIGTERM: nobody can connect any more, and streams in flight come to their end in all workers.

        Before that, what an operator sees: one banner, metrics of all, a reload of each. Limits hold for both workers.
        """
        await self.start_gateway("[limits]\nconcurrent = 40\n")
        self.assertEqual(self.gateway.printed.count("gateway: http"), 1)
        streams = await self.streams_in_both(LONG)
        while len(streams) < 40:
            streams += await self.streams(1, LONG)
        self.assertEqual(await self.status(), 429)
        self.assertEqual(await self.sample("interceptions_inflight"), 40)
        self.assertEqual((await self.get("/healthz")).body, b"ok")
        config = self.folder / "aibridge.toml"
        changed = config.read_text().replace("concurrent = 40", "concurrent = 41").replace("workers = 2", "workers = 3")
        config.write_text(f'{changed}[console]\nauth = "password"\n')
        self.process.signalProcess("HUP")
        await self.until(lambda: self.gateway.printed.count("changed: limits.concurrent, console.auth") == 2)
        self.assertEqual(self.gateway.printed.count("Restart the gateway to change server.workers"), 1)
        for path in ("/api/v1/overview", "/v1/organizations/spend_limits"):
            self.assertEqual((await self.get(path)).status, 401)
        self.assertEqual(await self.status(), 200)
        for count, bad in enumerate(("nonsense", '[prices]\nfile = "nowhere.json"'), 1):
            config.write_text(bad)
            self.process.signalProcess("HUP")
            await self.until(lambda count=count: self.gateway.printed.count("stays as it was") == count)
        os.killpg(self.process.pid, signal.SIGINT)  # Ctrl-C reaches all processes, and counts as one signal
        await self.until_refused()
        self.assertFalse(any(client.answer.whole for client in streams))
        for client in streams:
            await client.done()
            self.assertTrue(client.answer.whole)
        self.assertEqual(await self.gateway.ended, 0, self.gateway.printed)
        self.assertEqual(len(self.with_status("completed")), 41)
        self.assertEqual(self.gateway.printed.count("stays as it was"), 2)

    async def test_hurry(self) -> None:
        """A second SIGTERM breaks off what is under way in all workers, which is recorded. The socket's file goes, too."""
        path = self.folder / "socket"
        await self.start_gateway(listen=f"unix:{path}")
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o660)
        streams = await self.streams_in_both()
        self.process.signalProcess("TERM")
        await self.until(lambda: not path.exists())
        self.process.signalProcess("TERM")
        for client in streams:
            await client.when(lambda client=client: client.closed)
        self.assertEqual(await self.gateway.ended, 0, self.gateway.printed)
        self.assertEqual(len(self.with_status("failed")), len(streams))

    async def test_daemon(self) -> None:
        """Without a terminal, the workers' lines are in the daemon's log."""
        await self.start_gateway(twistd=("--pidfile", "gateway.pid"), listen=f"tcp:{free_port()}:interface=127.0.0.1")
        log, pid = self.folder / "twistd.log", int((self.folder / "gateway.pid").read_text())
        self.addCleanup(kill, pid)
        await self.until(lambda: "Codex" in log.read_text() or "Claude Code" in log.read_text())
        self.read_addresses(log.read_text())
        self.assertEqual(await self.status(), 200)
        await self.until(lambda: "interception_metrics#info] Unknown" in log.read_text())
        self.assertRegex(log.read_text(), r"\[worker [12]: aibridge\.interception_metrics#info\] Unknown")
        log.rename(self.folder / "twistd.log.1")
        os.kill(pid, signal.SIGUSR1)  # as for logrotate: all processes write to the new file
        await self.until(lambda: log.exists() and log.read_text().count("is opened again") == 3)
        self.assertEqual(await self.status(), 200)
        await self.until(lambda: "interception_metrics#info] Unknown" in log.read_text())
        os.kill(pid, signal.SIGTERM)
        await self.until(lambda: not is_alive(pid))
        self.assertIn("Server Shut Down", log.read_text())


class StartTests(WorkersTestCase):
    """A gateway that can't start says why in one line, and ends with status 1."""

    async def failure(self, config: str = "", **options: Any) -> str:
        """The last line that it wrote, and nothing listens or runs any more."""
        await self.start_gateway(config, **options)
        self.assertEqual(await self.gateway.ended, 1, self.gateway.printed)
        return self.gateway.printed.splitlines()[-1]

    async def test_worker(self) -> None:
        """A worker that can't start."""
        (self.folder / "file").touch()
        line = await self.failure('spool_dir = "file/spool"\n')
        self.assertIn("spool folder file/spool: Not a directory", self.gateway.printed)
        self.assertNotIn("Traceback", self.gateway.printed)
        self.assertNotIn("gateway: http", self.gateway.printed)
        self.assertTrue(line)

    async def test_port_taken(self) -> None:
        """A port that another program has: no worker is started for that."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            await self.failure(listen=f"tcp:{other.getsockname()[1]}:interface=127.0.0.1")
        self.assertIn("can't start: server.listen: Couldn't listen on", self.gateway.printed)
        self.assertNotIn("worker", self.gateway.printed)

    async def test_configuration(self) -> None:
        """A configuration that can't be used: nothing has listened."""
        self.database = "sqlite://"
        await self.failure()
        self.assertEqual(
            self.gateway.printed,
            "aibridge.toml: server.workers: must be 1 with a database in memory: give database.url a file\n",
        )


def is_alive(pid: int) -> bool:
    """True while the process runs; one that has ended and that nobody has waited for does not."""
    try:
        with Path(f"/proc/{pid}/stat").open() as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def kill(pid: int) -> None:
    if is_alive(pid):
        os.kill(pid, signal.SIGKILL)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
