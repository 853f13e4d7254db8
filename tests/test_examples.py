"""The manual's example programs."""

import os
import runpy
import sqlite3
from pathlib import Path

import treq
from twisted.application.service import IServiceCollection
from twisted.internet import endpoints
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyClass

from aibridge import IRecorder

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"

TestHost = runpy.run_path(str(EXAMPLES / "test_host.py"))["GatewayTests"]
"""The example of a host's own tests, which run here as they are."""


class HostTests(TestCase):
    """The host program, on a port that the system chooses."""

    async def test_host(self) -> None:
        """It knows its own users, refuses others in the API's shape, and keeps its records where it says."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(folder)
        endpoint = endpoints.serverFromString
        self.patch(endpoints, "serverFromString", lambda reactor, _: endpoint(reactor, "tcp:0:interface=127.0.0.1"))
        host = runpy.run_path(str(EXAMPLES / "host.py"))
        services = IServiceCollection(host["application"])
        services.startService()
        self.addCleanup(services.stopService)
        [*_, server] = services
        port = await server._waitingForPort
        url = f"http://127.0.0.1:{port.getHost().port}/ai/local/v1/chat/completions"

        stranger = await treq.post(url, b"{}", persistent=False)
        self.assertEqual((stranger.code, (await stranger.json())["error"]["code"]), (401, "invalid_api_key"))
        alice = await treq.post(url, b"not JSON", headers={"x-host-token": "alices-token"}, persistent=False)
        self.assertEqual((alice.code, (await alice.json())["error"]["type"]), (400, "invalid_request_error"))
        await services.stopService()
        with sqlite3.connect(folder / "host.sqlite") as database:
            self.assertEqual(database.execute("SELECT count(*) FROM aibridge_interceptions").fetchall(), [(0,)])


class JournalTests(SynchronousTestCase):
    """The host's own recorder."""

    def test_journal(self) -> None:
        """It provides the recorder's interface."""
        self.assertTrue(verifyClass(IRecorder, runpy.run_path(str(EXAMPLES / "journal.py"))["LogRecorder"]))
