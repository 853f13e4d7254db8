"""The modes as an operator sets them up: a file, processes, and the command."""

import io
import sys
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from aibridge.cli import main
from aibridge.testing import LoopbackServer

from .process import GatewayProcess
from .tokens import jwks, private_key, public_jwk, token


class ProcessTests(TestCase):
    """Whole gateways."""

    timeout = 60

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()  # a socket's path must be short
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    async def start(self, auth: str, listen: str = "tcp:0:interface=127.0.0.1") -> GatewayProcess:
        """A gateway with that table."""
        self.config = self.folder / "aibridge.toml"
        self.config.write_text(f'[server]\nlisten = "{listen}"\nadmin_listen = "off"\n[auth]\n{auth}')
        process = GatewayProcess(self.config)
        await process.start()
        self.addCleanup(process.stop)
        return process

    def command(self, *arguments: str) -> str:
        """What ``aibridge keys`` says about the keys of that gateway."""
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        self.assertEqual(main(["keys", *arguments, "--database", f"sqlite:///{self.folder}/aibridge-demo.sqlite"]), 0)
        return out.getvalue()

    async def test_keys(self) -> None:
        """A new key is good in every process, and when it is revoked it is refused in every one within five seconds."""
        gateways = [await self.start('mode = "keys"'), await self.start('mode = "keys"')]
        key = self.command("create", "--actor", "alice").strip()
        for gateway in gateways:
            self.assertEqual(await gateway.status(x_api_key=key), 200)
            self.assertEqual(await gateway.status(x_api_key="sk-own"), 401)
        self.command("revoke", self.command("list").splitlines()[1].split()[0])
        revoked_at = reactor.seconds()
        for gateway in gateways:
            while await gateway.status(Authorization=f"Bearer {key}") != 401:
                self.assertLess(reactor.seconds() - revoked_at, 5)
                await deferLater(reactor, 0.1)
        for gateway in gateways:
            self.assertEqual(await gateway.stop(), 0)
            self.assertNotIn(key[4:], gateway.said)
        for path in self.folder.glob("*.sqlite*"):
            self.assertNotIn(key[4:].encode(), path.read_bytes(), path)

    async def test_header(self) -> None:
        """Behind a proxy on a socket in the file system, which alone is believed."""
        behind = 'mode = "header"\ntrusted_proxies = ["unix"]'
        gateway = await self.start(behind, f"unix:{self.folder}/gateway.sock")
        self.assertEqual(await gateway.status(X_Forwarded_User="alice"), 200)
        self.assertEqual(await gateway.status(), 401)
        await gateway.stop()
        gateway = await self.start(behind)
        self.assertEqual(await gateway.status(X_Forwarded_User="alice"), 401)

    async def test_jwt(self) -> None:
        """Keys come by URL; a token of a key that is new there is believed without a restart."""
        issuer = _Issuer()
        server = LoopbackServer(reactor, issuer)
        self.addCleanup(server.stop)
        url = await server.start()
        gateway = await self.start(
            f'mode = "jwt"\njwks_url = "{url}/keys"\nissuer = "https://id.example/"\naudience = "aibridge"'
        )
        self.assertEqual(issuer.asked, 0)
        newer = private_key("ES256", 1)
        self.assertEqual(await gateway.status(Authorization=f"Bearer {token('ES256', 'a')}"), 200)
        self.assertEqual(await gateway.status(Authorization=f"Bearer {token('ES256', 'a', newer)}"), 401)
        issuer.document = jwks(public_jwk("ES256", "b", newer))
        while await gateway.status(Authorization=f"Bearer {token('ES256', 'b', newer)}") != 200:
            await deferLater(reactor, 0.5)
        self.assertLessEqual(issuer.asked, 3)


class _Issuer(Resource):
    """Publishes its keys."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.document = jwks(public_jwk("ES256", "a"))

    def render_GET(self, request: Request) -> bytes:
        self.asked += 1
        return self.document
