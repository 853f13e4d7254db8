"""The headers that reach a provider, as each line of the manual's table says."""

import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import orjson
from attrs import frozen
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

import aibridge
from aibridge import HeaderAuthenticator, JWTAuthenticator, KeyAuthenticator
from aibridge.identity.key_store import KeyStore
from aibridge.record import migrations

from ..chain.apis import CHAT, MESSAGES, OWN, SECRET, Api
from ..chain.client import Answer
from ..integration.gateway import GatewayTestCase
from .tokens import AUDIENCE, ISSUER, jwks, public_jwk, token

MANUAL = Path(aibridge.__file__).parents[1] / "docs" / "authentication.md"
FIELDS = ("X-AIBridge-Key", "x-api-key", "Authorization")
SPOOFS = {
    "X-AI-Bridge-Actor-ID": "mallory",
    "X-AI-Bridge-Actor-Metadata-team": "mallory",
    "X-AIBridge-Anything": "mallory",
    "Cookie": "session=mallory",
    "Proxy-Authorization": "Basic mallory",
}


@frozen
class Line:
    """A line of the table."""

    mode: str
    sent: dict[str, str]
    received: str
    kind: str


def lines(mode: str) -> list[Line]:
    """The table's lines for that mode."""
    found = []
    for text in MANUAL.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() if cell.strip() != "-" else "" for cell in text.strip("|").split("|")]
        if len(cells) == 6 and cells[0] == mode:
            sent = {name: cell for name, cell in zip(FIELDS, cells[1:4], strict=True) if cell}
            found.append(Line(mode, sent, *cells[4:]))
    return found


class CrossingTests(GatewayTestCase):
    """Each line, with both types of provider, on a route that is recorded and on one that is passed through."""

    async def check(self, mode: str, authenticator: Any, words: dict[str, str], actor: str) -> None:
        """All lines of that mode; a word of the table stands for what `words` says."""
        url = await self.start(authenticate=authenticator)
        table = lines(mode)
        self.assertTrue(table)
        for line in table:
            headers = {name: _spelled(cell, words) for name, cell in line.sent.items()}
            for api in (MESSAGES, CHAT):
                for passed in (False, True):
                    await self.check_line(line, url, api, passed, headers, words, actor)

    async def check_line(
        self, line: Line, url: str, api: Api, passed: bool, headers: dict[str, str], words: dict[str, str], actor: str
    ) -> None:
        """A request for that line fares as the line says."""
        before = len(self.provider.requests), len(self.recorder.interceptions)
        answer = await self.send(url, api, passed, headers)
        after = len(self.provider.requests), len(self.recorder.interceptions)
        if line.received == "401":
            self.assertEqual((answer.status, after), (401, before), line)
            api.error_of(orjson.loads(bytes(answer.body)))
            return
        self.assertEqual((answer.status, after), (200, (before[0] + 1, before[1] + (not passed))), line)
        self.check_received(line, api, words)
        if not passed:
            begun = [*self.recorder.interceptions.values()][-1]
            self.assertEqual((begun.credential_kind, begun.initiator_id), (line.kind, actor), line)

    async def send(self, url: str, api: Api, passed: bool, headers: dict[str, str]) -> Answer:
        """The response to a client that also sends headers of another actor."""
        client = await self.connect(url)
        method, path, body = ("GET", f"/{api.provider}/v1/models", b"") if passed else ("POST", api.path, api.body())
        client.send(method, path, body, headers | SPOOFS | {"X-Forwarded-User": "alice"})
        await client.done()
        client.leave()
        return client.answer

    def check_received(self, line: Line, api: Api, words: dict[str, str]) -> None:
        """The provider got what the line says, and nothing that was meant for the gateway."""
        received = self.provider.requests[-1].headers
        usual = {"x-api-key": SECRET} if api.provider == "anthropic" else {"Authorization": f"Bearer {SECRET}"}
        told = dict(re.findall(r"`([^:`]+): ([^`]+)`", line.received))
        expected = {name: _spelled(cell, words) for name, cell in told.items()} or usual
        got = {name: received.getRawHeaders(name) for name in FIELDS if received.hasHeader(name)}
        self.assertEqual(got, {name: [value] for name, value in expected.items()}, line)
        everything = repr([*received.getAllRawHeaders()])
        for word in ("key", "other", "wrong", "token"):
            self.assertNotIn(words[word], everything + repr(self.recorder.history[-9:]), line)
        self.assertNotIn("mallory", everything)
        if line.mode == "header":
            self.assertFalse(received.hasHeader("X-Forwarded-User"))

    def words(self) -> dict[str, str]:
        """Values for the table's words, in modes that don't recognize them."""
        made = {name: "aib_" + character * 43 for name, character in (("key", "k"), ("other", "o"), ("wrong", "w"))}
        stranger = token("ES256", "e", iss="https://elsewhere.example/")
        return made | {"own": OWN, "token": token("ES256", "e"), "stranger": stranger}

    async def test_none(self) -> None:
        """Mode none."""
        await self.check("none", None, self.words(), "anonymous")

    async def test_keys(self) -> None:
        """Mode keys."""
        database = f"sqlite:///{self.mktemp()}.sqlite"
        migrations.upgrade(database)
        store = KeyStore(database)
        words = self.words() | {"key": store.create("alice", {}), "other": store.create("bob", {})}
        await self.check("keys", KeyAuthenticator(database, reactor=reactor), words, "alice")

    async def test_header(self) -> None:
        """Mode header."""
        await self.check("header", HeaderAuthenticator(trusted_proxies=["127.0.0.1"]), self.words(), "alice")

    async def test_jwt(self) -> None:
        """Mode jwt."""
        keys = Path(self.mktemp())
        keys.write_bytes(jwks(public_jwk("ES256", "e")))
        authenticator = JWTAuthenticator(issuer=ISSUER, audience=AUDIENCE, jwks_file=str(keys), reactor=reactor)
        await self.check("jwt", authenticator, self.words(), "alice")


class TableTests(SynchronousTestCase):
    """The table itself."""

    def test_every_line(self) -> None:
        """No line of the table is left out."""
        text = MANUAL.read_text(encoding="utf-8")
        table = text[text.index("| `X-AIBridge-Key` |") :].partition("\n\n")[0].splitlines()[2:]
        self.assertEqual(len(table), sum(len(lines(mode)) for mode in ("none", "keys", "header", "jwt")))


def _spelled(cell: str, words: dict[str, str]) -> str:
    """A header's value, for what the table calls it."""
    scheme, space, word = cell.rpartition(" ")
    value = words[word]
    return scheme + space + (b64encode(f"user:{value}".encode()).decode() if scheme == "Basic" else value)
