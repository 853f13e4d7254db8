"""Dumps of exchanges: what is on the wire, in files, without a secret."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred

from aibridge import Actor, AnthropicProvider
from aibridge.dumps import providers
from aibridge.testing import CannedServer, Ending, RawReply, Reply, ToolCall

from .apis import APIS, CHAT, MESSAGES, OWN, SECRET
from .gateway import PROVIDER_PORT, UPSTREAM, ChainTestCase
from .toolbox import ScriptedToolbox

GATEWAY_KEY = "aib_" + "y" * 43


class DumpTests(ChainTestCase):
    """A gateway whose providers have a folder for dumps."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.network.getThreadPool = lambda: None  # type: ignore[attr-defined]
        self.patch(providers, "deferToThreadPool", self.in_thread)
        self.dump()

    def in_thread(self, reactor: Any, pool: Any, call: Callable[[], Any]) -> "Deferred[Any]":
        """The thread, which is quick."""
        return maybeDeferred(call)

    def dump(self, **settings: Any) -> None:
        """A gateway with other settings."""
        self.start({"dump_dir": str(self.folder), "extra_headers": {"X-Team-Secret": "team-hunter2"}}, **settings)

    def dumped(self) -> dict[str, bytes]:
        """The files of the one exchange."""
        self.successResultOf(self.bridge._interceptors.dumps.flush())
        [exchange] = self.folder.glob("*/*")
        self.assertEqual(exchange.name, str(self.exchange.begun.id))
        return {path.name: path.read_bytes() for path in sorted(exchange.iterdir())}

    def body(self, dumped: bytes) -> bytes:
        """What follows the head."""
        return dumped.partition(b"\r\n\r\n")[2]

    def test_exchange(self) -> None:
        """Request and answer are dumped as they were sent, in every API, streamed or not."""
        for api in APIS:
            for stream in (False, True):
                self.folder = Path(self.mktemp())
                self.dump()
                self.recorder.__init__()  # type: ignore[misc]
                answer = self.answer(api, "ping", stream=stream)
                files = self.dumped()
                self.assertEqual([*files], ["answer", "request"])
                sent = self.provider.requests[-1]
                head = f"POST {api.upstream_path} HTTP/1.1\r\nHost: 192.0.2.9:{PROVIDER_PORT}\r\n".encode()
                self.assertTrue(files["request"].startswith(head), files["request"])
                self.assertEqual(self.body(files["request"]), sent.body)
                self.assertTrue(files["answer"].startswith(b"HTTP/1.1 200 OK\r\n"))
                if api is not CHAT:  # whose usage the gateway asks for itself
                    self.assertEqual(self.body(files["answer"]), bytes(answer.body))

    def test_secrets(self) -> None:
        """No credential is in a dump: the configured one, the client's own, the gateway's, wherever they appear."""
        self.dump(authenticate=lambda request: Actor("alice"))
        said = f"your keys are {SECRET}, {OWN}, team-hunter2 and {GATEWAY_KEY}"
        for headers in ({}, {"x-api-key": OWN}, {"Authorization": f"Bearer {GATEWAY_KEY}"}):
            self.provider.say(
                RawReply(headers={"Set-Cookie": "session=s3cret"}, chunks=[said[:20].encode(), said[20:].encode()])
            )
            path = f"{MESSAGES.path}?key=parameter-s3cret"
            client = self.connect()
            client.send("POST", path, MESSAGES.body(said), {"Content-Type": "application/json", **headers})
            self.network.wait(3)
            self.assertIn(said.encode(), bytes(client.answer.body))
        self.successResultOf(self.bridge._interceptors.dumps.flush())
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        self.assertEqual(len(files), 6)
        everything = b"".join(path.read_bytes() for path in files)
        for secret in (SECRET, "team-hunter2", GATEWAY_KEY, "s3cret"):
            self.assertNotIn(secret.encode(), everything)
        [own] = [path.parent for path in files if path.name == "request" and b"[masked], [masked]" in path.read_bytes()]
        self.assertNotIn(OWN.encode(), b"".join(path.read_bytes() for path in own.iterdir()))

    def test_rounds(self) -> None:
        """Each round of an exchange has files of its own."""
        self.dump(toolbox=ScriptedToolbox("look"))
        self.provider.say(Reply(tool_calls=[ToolCall("bmcp_sky_look", {})]), Reply(text="blue"))
        self.answer(MESSAGES, stream=True)
        files = self.dumped()
        self.assertEqual([*files], ["answer", "answer-2", "request", "request-2"])
        self.assertIn(b"tool_result", files["request-2"])
        self.assertIn(b"bmcp_sky_look", files["answer"])

    def test_as_on_the_wire(self) -> None:
        """An answer that is compressed is dumped so."""
        packed = gzip.compress(b"{}")
        self.provider.say(RawReply(headers={"Content-Encoding": "gzip"}, chunks=[packed]))
        self.answer(MESSAGES)
        self.assertEqual(self.body(self.dumped()["answer"]), packed)

    def test_failures(self) -> None:
        """An answer that breaks off is dumped as far as it came; a file says what went wrong, or why none came."""
        cut = Reply(text="a word and another " * 20, stop_after=9, ending=Ending.CUT)
        self.provider.say(cut)
        self.answer(MESSAGES, stream=True)
        files = self.dumped()
        self.assertEqual([*files], ["answer", "error", "request"])
        self.assertIn(b'" word"', files["answer"])
        self.assertIn(b"the answer broke off", files["error"])
        self.folder = Path(self.mktemp())
        self.dump()
        self.recorder.__init__()  # type: ignore[misc]
        self.network.serve(PROVIDER_PORT, CannedServer(closes=True))
        self.answer(MESSAGES)
        files = self.dumped()
        self.assertEqual([*files], ["error", "request"])
        self.assertIn(b"UpstreamFailed: ", files["error"])

    def test_others(self) -> None:
        """Requests without an interception are not dumped, nor are those of providers without a folder."""
        client = self.connect()
        client.send("GET", "/anthropic/v1/models")
        self.network.wait(1)
        self.start({"dump_dir": ""})
        self.answer(MESSAGES)
        self.assertFalse(self.folder.exists())
        self.assertEqual(self.bridge.dumps(), {})

    def test_slow_disk(self) -> None:
        """No answer waits for the disk; the stop does, for five seconds."""
        waiting: list[Deferred[Any]] = []
        self.patch(providers, "deferToThreadPool", lambda *_: waiting.append(Deferred()) or waiting[-1])
        self.dump()
        self.assertEqual(self.answer(MESSAGES).status, 200)
        stopped = self.bridge.stopService()
        self.network.settle()
        self.assertNoResult(stopped)
        self.network.wait(5)
        self.successResultOf(stopped)
        for each in waiting:  # which grows meanwhile
            each.callback([])

    def test_full_disk(self) -> None:
        """A folder that can't be written stops no request, and the report says so."""
        self.folder.write_text("no folder")
        self.assertEqual(self.answer(MESSAGES).status, 200)
        report = {"folder": str(self.folder.absolute()), "stopped": "Not a directory"}
        self.assertEqual(self.bridge.dumps()["anthropic"], report)
        self.flushLoggedErrors()

    def test_new_settings(self) -> None:
        """Dumps can be switched on and off while the gateway runs."""
        provider = AnthropicProvider(base_url=UPSTREAM, api_key=SECRET)
        before = self.bridge.settings
        self.bridge.apply(evolve(before, providers=[provider]))
        self.answer(MESSAGES)
        self.assertFalse(self.folder.exists())
        self.bridge.apply(before)
        self.answer(MESSAGES)
        self.assertEqual(len([*self.folder.glob("*/*")]), 1)
