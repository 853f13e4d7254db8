"""Everything runs with secrets that can be told apart, and then they are looked for wherever they must not be."""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest
from twisted.internet import reactor
from twisted.logger import LogEvent, eventAsJSON, eventAsText, globalLogPublisher

from aibridge.cli import main
from aibridge.config.loader import load_config
from aibridge.identity.key_store import KeyStore
from aibridge.logs import text_of
from aibridge.service.assembly import assemble
from aibridge.service.standalone import StandaloneGateway
from aibridge.testing import Ending, RawReply, Reply, ToolCall

from ..chain.apis import APIS, MESSAGES, Api
from ..chain.client import Answer
from ..identity.tokens import AUDIENCE, ISSUER, jwks, public_jwk, token
from .gateway import GatewayTestCase

OF_OPERATOR = {
    "central key": "sk-central-MARKED00000000000000",
    "key from a file": "sk-file-MARKED1111111111111111",
    "extra header": "extra-MARKED2222222222222222",
    "password": "password-MARKED3333333333333333",
    "password in the query": "query-MARKED44444444444444444",
}
OF_CLIENT = {
    "x-api-key": "sk-x-MARKED555555555555555555555",
    "bearer": "sk-bearer-MARKED666666666666666",
    "basic": "c2stYmFzaWMtTUFSS0VEODg4ODg4ODg4OA==",
    "cookie": "cookie-MARKED777777777777777777",
    "key in a query": "query-MARKED8888888888888888888",
    "wrong key": "aib_" + "MARKED9" * 6 + "x",
}
CONTENTS = {"prompt": "prompt-MARKEDaaaa", "answer": "answer-MARKEDbbbb", "argument": "argument-MARKEDcccc"}
CONFIG = """
[server]
listen = "tcp:0:interface=127.0.0.1"
admin_listen = "tcp:0:interface=127.0.0.1"
[database]
url = "{database}"
[record]
prompts = false
tool_arguments = false
thoughts = false
[auth]
{auth}
[providers.anthropic]
base_url = "{upstream}"
api_key_env = "CENTRAL"
extra_headers = {{ X-Extra = "{extra}" }}
circuit_breaker = {{ failure_threshold = 100 }}
[providers.openai]
base_url = "{upstream}/v1"
api_key_file = "openai.key"
"""
AUTH = {
    "none": 'mode = "none"',
    "keys": 'mode = "keys"',
    "jwt": f'mode = "jwt"\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\njwks_file = "jwks.json"',
}
AWAY = "postgresql+psycopg://u:{}@127.0.0.1:1/db?password={}&connect_timeout=1"


class SecrecyTests(GatewayTestCase):
    """The whole gateway, as its configuration makes it."""

    timeout = 60

    async def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        (self.folder / "openai.key").write_text(OF_OPERATOR["key from a file"])
        (self.folder / "jwks.json").write_bytes(jwks(public_jwk("ES256", "e")))
        self.upstream = await self.start_provider()
        self.patch(os, "environ", {"CENTRAL": OF_OPERATOR["central key"]})
        self.seen: dict[str, list[str]] = {"events": [], "objects": [], "answers": [], "pages": []}
        globalLogPublisher.addObserver(self.note)
        self.addCleanup(globalLogPublisher.removeObserver, self.note)
        self.addCleanup(self.flushLoggedErrors)

    def note(self, event: LogEvent) -> None:
        """All that an observer can make of an event, and all that it carries."""
        fields = repr({name: value for name, value in event.items() if name not in ("log_logger", "log_source")})
        self.seen["events"] += [fields, eventAsText(event), eventAsJSON(event), str(text_of(event))]

    def file(self, mode: str, database: str) -> str:
        """A configuration."""
        path = self.folder / f"{mode}.toml"
        extra = OF_OPERATOR["extra header"]
        path.write_text(CONFIG.format(database=database, auth=AUTH[mode], upstream=self.upstream, extra=extra))
        return str(path)

    def command(self, *arguments: str) -> str:
        """What the operator's tool says."""
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", out)
        main(arguments)
        return out.getvalue()

    async def run_gateway(self, file: str, use: Any) -> list[str]:
        """A gateway from its start to its end; what it could not do."""
        failures: list[str] = []
        before = len(self.seen["events"])
        service = StandaloneGateway(
            load_config(file, os.environ), reactor=reactor, on_failure=failures.append, assemble=self.make
        )
        await service.startService()
        if not failures:
            text = "".join(self.seen["events"][before:])
            await use(_after(text, "gateway: "))
            for page in ("/metrics", "/readyz", "/healthz", "/nothing"):
                client = await self.connect(_after(text, "operator's site: "))
                client.send("GET", page)
                await client.done()
                self.seen["pages"].append(client.answer.body.decode())
                await self._close_client(client)
            self.seen["objects"] += [
                repr(value) for value in _reachable([service, *vars(self.parts.gateway.bridge).values()])
            ]
            self.seen["pages"].append(generate_latest(self.parts.gateway.bridge.metrics.registry).decode())
        await service.stopService()
        return failures

    def make(self, config: Any, reactor: Any) -> Any:
        """The usual parts, noted."""
        self.parts = assemble(config, reactor)
        return self.parts

    async def exchange(
        self, url: str, api: Api, reply: Any, headers: dict[str, str], stream: bool, key: bool
    ) -> Answer:
        """One exchange; its answer, if it is of the gateway's making, must not hold a secret."""
        if reply is not None:
            self.provider.say(reply)
        client = await self.connect(url)
        body = api.body(CONTENTS["prompt"], stream=stream)
        path = api.path + (f"?key={OF_CLIENT['key in a query']}" if key else "")
        client.send("POST", path, body, {"Cookie": OF_CLIENT["cookie"], **headers})
        await client.done()
        await self._close_client(client)
        self.seen["answers"].append(f"{client.answer.status} {client.answer.headers!r}")
        if reply is None:
            self.seen["answers"].append(client.answer.body.decode())
        return client.answer

    async def everything(self, url: str, **admitted: str) -> None:
        """In every API, with each kind of credential, well and badly."""
        ways = ({}, {"X-Api-Key": OF_CLIENT["x-api-key"]}, {"Authorization": f"Bearer {OF_CLIENT['bearer']}"})
        odd = ({"Authorization": f"Basic {OF_CLIENT['basic']}"}, {"X-AIBridge-Key": OF_CLIENT["wrong key"]})
        echo = json.dumps(
            {"error": {"type": "bad", "message": f"no such key: {[*OF_CLIENT.values(), *OF_OPERATOR.values()]}"}}
        )
        calls = [ToolCall("look", {"at": CONTENTS["argument"]})]
        good = Reply(text=CONTENTS["answer"], thinking=CONTENTS["answer"], tool_calls=calls)
        for api in APIS:
            for headers in (*ways, *odd):
                for stream in (False, True):
                    await self.exchange(url, api, good, admitted | headers, stream, key=True)
                    self.provider._sayings.clear()
            refusal = RawReply(status=401, headers={"Content-Type": "application/json"}, chunks=[echo.encode()])
            for broken in (
                refusal,
                RawReply(status=None, chunks=[b"no HTTP\r\n\r\n"]),
                Reply(text="a b", stop_after=1, ending=Ending.CUT),
            ):
                await self.exchange(url, api, broken, admitted, True, key=True)
                self.provider._sayings.clear()
            await self.exchange(url, api, None, {"X-AIBridge-Key": OF_CLIENT["wrong key"]}, False, key=True)
            await self.exchange(url, api, None, admitted | {"Content-Encoding": "gzip"}, False, key=True)
        client = await self.connect(url)
        client.raw(
            f"GET /anthropic/v1/{OF_CLIENT['key in a query']} HTTP/1.1\r\nHost: {OF_CLIENT['cookie']} x\r\n\r\n".encode()
        )
        await client.done()
        await self._close_client(client)
        self.seen["answers"].append(client.answer.body.decode())

    def missing(self, name: str, secrets: dict[str, str], *found: str) -> None:
        """None of these is in any of those, in any spelling."""
        text = "".join(found)
        self.assertTrue(text, name)
        for what, secret in secrets.items():
            before, mark, _ = text.partition(secret[5:-2])
            self.assertFalse(mark, f"{what} in {name}: {before[-200:]}…")

    async def test_all(self) -> None:
        """Logs, database, metrics, pages, errors, commands and objects hold no credential; logs and metrics no content."""
        database = f"sqlite:///{self.folder}/records.sqlite"
        given = KeyStore(database)
        self.command("db", "upgrade", "--database", database)
        of_gateway = {"gateway's key": given.create("alice", {"team": "core"}), "token": token("ES256", "e")}
        for mode, admitted in (
            ("none", {}),
            ("keys", {"X-AIBridge-Key": of_gateway["gateway's key"]}),
            ("jwt", {"X-AIBridge-Key": of_gateway["token"]}),
        ):
            file = self.file(mode, database)
            self.assertEqual(
                await self.run_gateway(file, lambda url, admitted=admitted: self.everything(url, **admitted)), []
            )
            self.seen["pages"].append(self.command("config", "check", "--config", file))
            self.seen["objects"] += [repr(load_config(file, os.environ))]
        statuses = {text[:3] for text in self.seen["answers"]}
        self.assertLessEqual({"200", "400", "401", "502"}, statuses)
        secrets = OF_OPERATOR | OF_CLIENT | of_gateway
        for name, found in self.seen.items():
            self.missing(name, secrets, *found)
        for name in ("events", "pages"):
            self.missing(name, CONTENTS, *self.seen[name])
        for path in self.folder.glob("records.sqlite*"):
            self.missing(path.name, secrets | CONTENTS, path.read_bytes().decode("latin-1"))

    async def test_database_away(self) -> None:
        """A database that can't be reached is named without its password, however that was written."""
        url = AWAY.format(OF_OPERATOR["password"], OF_OPERATOR["password in the query"])
        file = self.file("none", url)

        async def use(url: str) -> None:
            await self.exchange(url, MESSAGES, Reply(text="x"), {}, False, key=False)

        failures = await self.run_gateway(file, use)
        said = [
            *failures,
            self.command("config", "check", "--config", file),
            self.command("db", "current", "--config", file),
        ]
        said += [self.command("keys", "list", "--config", file), repr(load_config(file, os.environ))]
        self.missing("what is said", OF_OPERATOR, *said, *self.seen["events"], *self.seen["pages"])


def _after(text: str, title: str) -> str:
    """The first URL that is announced under that title."""
    return text.partition(title)[2].partition("'")[0].split()[0].rstrip("',\"\\n")


def _reachable(roots: list[Any]) -> list[Any]:
    """Values of this package that these hold, and what those hold."""
    found: dict[int, Any] = {}
    todo = list(roots)
    while todo:
        value = todo.pop()
        if id(value) in found or not type(value).__module__.startswith(("aibridge", "builtins")):
            continue
        found[id(value)] = value
        if isinstance(value, dict):
            todo += value.values()
        elif isinstance(value, (list, tuple, set)):
            todo += value
        elif type(value).__module__.startswith("aibridge"):
            todo += [getattr(value, name) for name in _names(value)]
    return [value for value in found.values() if type(value).__module__.startswith("aibridge")]


def _names(value: Any) -> list[str]:
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    return [name for name in {*slots, *getattr(value, "__dict__", {})} if hasattr(value, name)]
