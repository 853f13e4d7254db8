"""Bridges within a host's own program."""

import contextlib
import threading
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.static import Data
from zope.interface import implementer
from zope.interface.verify import verifyObject

from aibridge import Actor, IAuthenticator, IRecorder, RequestBridge
from aibridge.record.records import InterceptionRecordEnded
from aibridge.recorder import ContentPolicy, FilteredRecorder, SQLRecorder
from aibridge.testing import LoopbackServer, MemoryRecorder, Reply, ToolCall

from ..chain.apis import APIS, CHAT, MESSAGES, Api
from ..chain.client import Client
from ..chain.exchanges import in_memory
from ..record.databases import stored
from .gateway import GatewayTestCase


class MountedTests(GatewayTestCase):
    """Below paths of a plain Site, beside other resources, two in one process."""

    async def setUp(self) -> None:
        super().setUp()
        upstream = await self.start_provider()
        self.recorders = [MemoryRecorder(), MemoryRecorder()]
        self.bridges = [
            self.make_bridge(upstream, recorder=recorder, authenticate=lambda request, name=name: Actor(name))
            for name, recorder in zip(("one", "two"), self.recorders, strict=True)
        ]
        deeper = Resource()
        root = Resource()
        root.putChild(b"ai", self.bridges[0])
        root.putChild(b"deeper", deeper)
        deeper.putChild(b"still", self.bridges[1])
        root.putChild(b"hello", Data(b"hello", "text/plain"))
        server = LoopbackServer(reactor, root)  # a plain Site of Twisted's
        self.addCleanup(server.stop)
        self.url = await server.start()

    async def get(self, target: str, method: str = "GET", body: bytes = b"") -> Client:
        client = await self.connect(self.url)
        client.send(method, target, body)
        await client.done()
        await self._close_client(client)
        return client

    async def test_side_by_side(self) -> None:
        """Each bridge serves below its own path and records to its own recorder; the host's pages are its own."""
        for api in APIS:
            for mount in ("/ai", "/deeper/still"):
                for stream in (False, True):
                    wanted = await self.direct(api, api.body("ping", stream=stream), Reply(text="pong", id="r_1"))
                    self.provider.say(Reply(text="pong", id="r_1"))
                    client = await self.get(mount + api.path, "POST", api.body("ping", stream=stream))
                    self.assertEqual(bytes(client.answer.body), bytes(wanted.body))
        who = [{exchange.begun.initiator_id for exchange in in_memory(recorder)} for recorder in self.recorders]
        self.assertEqual((who, [len(recorder.ended) for recorder in self.recorders]), ([{"one"}, {"two"}], [6, 6]))
        hello = await self.get("/hello")
        self.assertEqual(bytes(hello.answer.body), b"hello")

    async def test_below_it_only(self) -> None:
        """Paths below a bridge that it doesn't know are 404, also where a bridge without the mount would know them."""
        for target in (
            "/ai",
            "/ai/",
            "/ai/nobody",
            "/ai/ai/anthropic/v1/models",
            "/anthropic/v1/models",
            "/ai/../hello",
        ):
            self.assertEqual((await self.get(target)).answer.status, 404)
        self.assertEqual(list(self.provider.requests), [])

    async def test_query_and_path(self) -> None:
        """What stands below the mount reaches the provider, and nothing of the mount itself."""
        await self.get("/deeper/still/openai/v1/models/a%2Fb?x=%2F")
        self.assertEqual(self.provider.requests[0].uri, b"/v1/models/a%2Fb?x=%2F")

    async def test_body_too_large(self) -> None:
        """The bridge's own bound holds where the host's Site has none."""
        self.bridges[0].apply(evolve(self.bridges[0].settings, max_body_bytes=100))
        client = await self.get("/ai" + MESSAGES.path, "POST", MESSAGES.body("x" * 100))
        self.assertEqual((client.answer.status, MESSAGES.error_of(client.answer.json)), (413, "request_too_large"))

    async def test_one_ends_alone(self) -> None:
        """One that was stopped refuses; the other goes on."""
        await self.bridges[0].shutdown()
        statuses = [
            (await self.get(mount + CHAT.path, "POST", CHAT.body())).answer.status for mount in ("/ai", "/deeper/still")
        ]
        self.assertEqual(statuses, [503, 200])


@implementer(IAuthenticator)
class Gatekeeper:
    """Knows a header of its own, which it removes."""

    def authenticate(self, request: Any) -> Any:
        [name] = request.requestHeaders.getRawHeaders("x-gatekeeper", [""])
        request.requestHeaders.removeHeader("x-gatekeeper")
        return succeed(Actor(name, {"gate": 1})) if name else None


async def _coroutine(request: Any) -> Actor:
    await deferLater(reactor, 0)
    return Actor("from a coroutine")


def _later(request: Any) -> "Deferred[Actor]":
    return deferLater(reactor, 0, lambda: Actor("from a Deferred", {"team": "core"}))


class AuthenticateTests(GatewayTestCase):
    """Every way in which a host may say who asks."""

    async def who(self, authenticate: Any, **headers: str) -> Any:
        """Status, and the actors that were recorded."""
        url = await self.start(authenticate=authenticate)
        answer = await self.answer(url, MESSAGES, MESSAGES.body(), **headers)
        return answer.status, [(each.begun.initiator_id, dict(each.begun.metadata)) for each in self.exchanges]

    async def test_value(self) -> None:
        """A value at once."""
        self.assertEqual(await self.who(lambda request: Actor("alice")), (200, [("alice", {})]))

    async def test_deferred(self) -> None:
        """A Deferred of one; its metadata is recorded."""
        self.assertEqual(await self.who(_later), (200, [("from a Deferred", {"team": "core"})]))

    async def test_coroutine(self) -> None:
        """A coroutine function."""
        self.assertEqual(await self.who(_coroutine), (200, [("from a coroutine", {})]))

    async def test_nobody(self) -> None:
        """None, as a value or later, is nobody."""
        for nobody in (lambda request: None, lambda request: succeed(None)):
            self.assertEqual(await self.who(nobody), (401, []))
        self.assertEqual(list(self.provider.requests), [])

    async def test_object(self) -> None:
        """An object of the interface; the header that it takes away never reaches the provider."""
        self.assertTrue(verifyObject(IAuthenticator, Gatekeeper()))
        found = await self.who(Gatekeeper(), X_Gatekeeper="bob")
        self.assertEqual(found, (200, [("bob", {"gate": 1})]))
        self.assertFalse(self.provider.requests[0].headers.hasHeader("x-gatekeeper"))

    async def test_actor_headers(self) -> None:
        """Where it is asked for the provider is told who asks, and nobody else can tell it that."""
        authenticate = lambda request: Actor("älice\r\nX-Evil: 1", {"team": "core"})  # noqa: E731
        url = await self.start({"send_actor_headers": True}, authenticate=authenticate)
        await self.answer(
            url, CHAT, CHAT.body(), X_AI_Bridge_Actor_ID="mallory", X_AI_Bridge_Actor_Metadata_Role="root"
        )
        headers = self.provider.requests[0].headers
        self.assertEqual(headers.getRawHeaders(b"x-ai-bridge-actor-id"), ["älice  X-Evil: 1".encode()])
        self.assertEqual(headers.getRawHeaders("x-ai-bridge-actor-metadata-team"), ["core"])
        self.assertEqual(
            [headers.hasHeader("x-evil"), headers.hasHeader("x-ai-bridge-actor-metadata-role")], [False, False]
        )


@implementer(IRecorder)
class Storage:
    """A host's own: it takes its time, and writes down what it was asked in order."""

    def __init__(self) -> None:
        self.story: list[str] = []

    def _keep(self, record: Any) -> "Deferred[None]":
        self.story.append(type(record).__name__)
        return deferLater(reactor, 0.01, lambda: None)

    record_interception = record_interception_ended = record_token_usage = _keep
    record_prompt_usage = record_tool_usage = record_model_thought = _keep


class OwnRecorderTests(GatewayTestCase):
    """A host's own storage."""

    async def story_of(self, api: Api, reply: Reply) -> list[str]:
        self.recorder = storage = Storage()
        verifyObject(IRecorder, storage)
        url = await self.start()
        self.provider.say(reply)
        answer = await self.answer(url, api, api.body(stream=True))
        self.assertTrue(answer.whole)
        return storage.story

    async def test_order(self) -> None:
        """It is told of the request first and of its end last."""
        story = await self.story_of(MESSAGES, Reply(thinking="hm", text="x", tool_calls=[ToolCall("look")]))
        wanted = [
            "InterceptionRecord",
            "PromptUsageRecord",
            "TokenUsageRecord",
            "ToolUsageRecord",
            "ModelThoughtRecord",
        ]
        self.assertEqual(story, [*wanted, "InterceptionRecordEnded"])


def open_files(below: Path) -> list[str]:
    """The files in a folder that this process has open; SQLite names those that it has removed, too."""
    links = []
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            links.append(str(fd.readlink()))
    return sorted(link for link in links if link.startswith(str(below)))


class UncleanTests(GatewayTestCase):
    """A host's own trial tests find a clean reactor after a bridge with a database recorder has ended."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.store = SQLRecorder(
            f"sqlite:///{self.folder}/records.sqlite", spool_dir=f"{self.folder}/spool", retention_days=30
        )
        self.before = {id(call) for call in reactor.getDelayedCalls()}

    def left(self) -> list[str]:
        """The threads, delayed calls and open files that the recorder has left."""
        calls = [str(call) for call in reactor.getDelayedCalls() if id(call) not in self.before]
        threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("aibridge")]
        return (
            threads + open_files(self.folder) + [call for call in calls if "aibridge" in call or "LoopingCall" in call]
        )

    async def use(self, recorder: Any) -> RequestBridge:
        """A bridge that has answered with this recorder, which nobody started."""
        bridge = self.make_bridge(await self.start_provider(), recorder=recorder)
        server = LoopbackServer(reactor, bridge)
        self.addCleanup(server.stop)
        url = await server.start()
        answer = await self.answer(url, CHAT, CHAT.body())
        self.assertEqual(answer.status, 200)
        await recorder.find_open_answer("nothing")
        self.assertNotEqual(self.left(), [])
        return bridge

    async def test_started_by_its_first_record(self) -> None:
        """A recorder that the first record started ends with its bridge, whatever stands in front of it."""
        for recorder in (self.store, FilteredRecorder(self.store, ContentPolicy())):
            bridge = await self.use(recorder)
            await bridge.shutdown()
            self.assertEqual(self.left(), [])

    async def test_started_by_the_host(self) -> None:
        """A recorder that the host started goes on when its bridge ends, and ends when the host stops it."""
        await self.store.startService()
        bridge = await self.use(self.store)
        await bridge.shutdown()
        self.assertNotEqual(self.left(), [])
        await self.store.stopService()
        self.assertEqual(self.left(), [])
        self.assertEqual(list((self.folder / "spool").iterdir()), [])

    async def test_shared(self) -> None:
        """Two bridges share a recorder that nobody started: when the first one ends, the other still records."""
        first, second = await self.use(self.store), await self.use(self.store)
        await first.shutdown()
        server = LoopbackServer(reactor, second)
        self.addCleanup(server.stop)
        answer = await self.answer(await server.start(), CHAT, CHAT.body())
        await second.shutdown()
        self.assertEqual((answer.status, self.left()), (200, []))
        self.assertEqual(len(stored(f"sqlite:///{self.folder}/records.sqlite", InterceptionRecordEnded)), 3)
