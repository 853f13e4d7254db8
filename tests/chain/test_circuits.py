"""Circuits: what of a provider's answers opens one, who is kept away by it, and how it closes again."""

from typing import Any

from aibridge import BreakerSettings
from aibridge.errors import RecordingError
from aibridge.testing import CannedServer, Ending, RawReply, Reply

from .apis import CHAT, MESSAGES, OWN, RESPONSES, Api
from .client import Client
from .gateway import PROVIDER_PORT, ChainTestCase

BREAKER = BreakerSettings(failure_threshold=3, interval=10.0, timeout=30.0, max_requests=2)
JSON = {"Content-Type": "application/json"}
BYOK = {"Authorization": f"Bearer {OWN}"}
HANGING = RawReply(status=None, ending=Ending.STALL)
ENDLESS = Reply(text="a word and another " * 20, stop_after=9, ending=Ending.STALL)
METRICS = ("state", "trips_total", "rejects_total")


def error(status: int, kind: str = "some_error") -> RawReply:
    """An error of the provider's own."""
    body = b'{"type":"error","error":{"type":"%b","message":"no"}}' % kind.encode()
    return RawReply(status=status, headers=JSON, chunks=[body])


class CircuitContract:
    """What holds in every API."""

    api: Api

    def setUp(self: Any) -> None:
        super().setUp()  # type: ignore[misc]
        self.start({"circuit_breaker": BREAKER})

    def value(self: Any, name: str, **labels: str) -> float | None:
        """A sample of the metrics."""
        found: float | None = self.bridge.metrics.registry.get_sample_value(name, labels)
        return found

    def counted(self: Any) -> list[float | None]:
        """State, trips and rejects."""
        route = self.api.path.removeprefix(f"/{self.api.provider}")
        where = {"provider": self.api.provider, "endpoint": route, "model": "model-1"}
        return [self.value(f"circuit_breaker_{name}", **where) for name in METRICS]

    def after(self: Any, *said: Any, times: int = 3, seconds: float = 0.5, **rest: Any) -> list[float | None]:
        """The metrics after so many exchanges in which the provider says that."""
        for _ in range(times):
            self.provider.say(*said)
            client = self.ask(self.api, **rest)
            self.network.wait(seconds)
            self.assertTrue(client.answer.whole or client.closed)
        return list(self.counted())

    def open(self: Any) -> None:
        self.assertEqual(self.after(error(503)), [1.0, 1.0, 0.0])

    def half_open(self: Any) -> None:
        """Its time is over, though nobody has asked yet."""
        self.open()
        self.network.wait(30)

    def status(self: Any, **rest: Any) -> int:
        """Of one more exchange."""
        return int(self.answer(self.api, **rest).status)

    def hang(self: Any, reply: Any = HANGING, **rest: Any) -> Client:
        """A client whose answer doesn't come to its end."""
        self.provider.say(reply)
        client: Client = self.ask(self.api, **rest)
        self.network.wait(0.2)
        return client

    def test_rejected(self: Any) -> None:
        """503 in the API's shape, which says when to come again; nothing at the provider, nothing recorded."""
        self.open()
        asked, recorded = len(self.provider.requests), len(self.exchanges)
        self.network.wait(10)
        client = self.ask(self.api, stream=True)
        self.network.settle()
        answer = client.answer
        self.assertEqual((answer.status, answer.header("content-type"), answer.whole), (503, "application/json", True))
        self.assertIn(self.api.error_of(answer.json), ("overloaded_error", "server_error"))
        self.assertEqual(answer.json["error"].get("code", "circuit_open"), "circuit_open")
        self.assertIn(answer.header("retry-after"), ("19", "20"))
        self.assertIsNone(answer.header("x-aibridge-interception-id"))
        self.assertEqual((len(self.provider.requests), len(self.exchanges)), (asked, recorded))
        self.assertEqual(self.counted(), [1.0, 1.0, 1.0])
        self.assertEqual(self.value("refusals_total", provider=self.api.provider, status="503"), 1.0)
        [circuit] = self.bridge.circuits()[self.api.provider]
        self.assertEqual((circuit["model"], circuit["state"]), ("model-1", "open"))

    def test_statuses(self: Any) -> None:
        """The statuses that say that there is no capacity count, and no others."""
        overloaded = {429, 503, 504} | ({529} if self.api.provider == "anthropic" else set())
        for status in (400, 401, 403, 404, 413, 429, 500, 502, 503, 504, 529):
            self.start({"circuit_breaker": BREAKER})
            self.assertEqual(self.after(error(status))[0], float(status in overloaded), status)

    def test_not_enough(self: Any) -> None:
        """Fewer in a row don't open it, nor as many over too long a time."""
        self.after(error(503), times=2)
        self.assertEqual(self.status(), 200)
        self.assertEqual(self.after(error(503), times=2), [0.0, 0.0, 0.0])
        self.network.wait(10)
        self.assertEqual(self.after(error(503), times=2), [0.0, 0.0, 0.0])

    def test_neither(self: Any) -> None:
        """What tells nothing of the provider's capacity doesn't break a row of failures."""
        page = RawReply(status=404, headers={"Content-Type": "text/html"}, chunks=[b"<html>"])
        for said in (page, error(400), error(200, "api_error")):
            self.start({"circuit_breaker": BREAKER})
            self.after(error(503), times=2)
            self.after(said, times=1)
            self.assertEqual(self.after(error(503), times=1), [1.0, 1.0, 0.0])

    def test_off(self: Any) -> None:
        """Without the setting there is none, whatever the provider does."""
        self.start()
        self.assertEqual(self.after(error(503), times=20), [None, None, None])
        self.assertEqual((self.status(), self.bridge.circuits()[self.api.provider]), (200, []))

    def test_refused(self: Any) -> None:
        """Connections that are refused count; so do those that are closed before an answer."""
        self.network.serve(PROVIDER_PORT, CannedServer(closes=True))
        self.after(times=1, seconds=1)
        self.network.close_port(PROVIDER_PORT)
        self.assertEqual(self.after(times=2, seconds=3), [1.0, 1.0, 0.0])

    def test_timeouts(self: Any) -> None:
        """So do answers that don't begin in time, or don't go on."""
        self.start({"circuit_breaker": BREAKER, "first_byte_timeout": 1.0, "idle_timeout": 2.0})
        self.after(HANGING, times=1, seconds=3)
        self.after(ENDLESS, times=1, seconds=3, stream=True)
        self.assertEqual(self.after(ENDLESS, times=1, seconds=3, stream=True), [1.0, 1.0, 0.0])

    def test_broken_off(self: Any) -> None:
        """And answers that break off."""
        cut = Reply(text="a word and another " * 20, stop_after=9, ending=Ending.CUT)
        self.assertEqual(self.after(cut, stream=True), [1.0, 1.0, 0.0])

    def test_overloaded_in_a_stream(self: Any) -> None:
        """And streams in which the provider says that it is overloaded; other errors there don't."""
        event = b"event: error\n" if self.api.name != "chat" else b""
        for kind in ("api_error", "overloaded_error"):
            frame = event + b'data: {"type":"error","error":{"type":"%b","message":"no"}}\n\n' % kind.encode()
            said = RawReply(headers={"Content-Type": "text/event-stream"}, chunks=[frame])
            self.assertEqual(self.after(said, stream=True)[0], float(kind == "overloaded_error"))

    def test_overloaded_in_a_body(self: Any) -> None:
        """And a whole answer of status 200 that says so."""
        self.assertEqual(self.after(error(200, "overloaded_error")), [1.0, 1.0, 0.0])

    def test_own_credential(self: Any) -> None:
        """A client's own key may be used up without anybody else being kept away; its other failures do count."""
        self.assertEqual(self.after(error(429), times=9, headers=BYOK), [0.0, 0.0, 0.0])
        self.assertEqual(self.after(error(429), times=2), [0.0, 0.0, 0.0])
        self.assertEqual(self.after(error(503), times=1, headers=BYOK), [1.0, 1.0, 0.0])
        self.assertEqual(self.status(headers=BYOK), 503)

    def test_client_leaves(self: Any) -> None:
        """A request that its client cancels tells nothing, wherever it is."""
        for reply, stream in ((HANGING, False), (ENDLESS, True), (HANGING, True)) * 2:
            self.hang(reply, stream=stream).leave()
            self.network.settle()
        self.network.unreachable = True
        for _ in range(4):
            client = self.ask(self.api)
            self.network.settle()
            client.leave()
            self.network.settle()
        self.assertEqual(self.counted(), [0.0, 0.0, 0.0])
        self.assertEqual({each.end[0] for each in self.exchanges}, {"cancelled"})

    def test_others(self: Any) -> None:
        """Another model, and what is passed through, go on."""
        self.open()
        self.assertEqual((self.status(), self.status(model="model-2")), (503, 200))
        client = self.connect()
        client.send("GET", f"/{self.api.provider}/v1/models")
        self.network.wait(1)
        self.assertEqual(client.answer.status, 200)

    def test_closes(self: Any) -> None:
        """After its time a success closes it."""
        self.half_open()
        self.assertEqual((self.status(), self.counted()), (200, [0.0, 1.0, 0.0]))
        self.assertEqual(self.bridge.circuits()[self.api.provider], [])

    def test_opens_again(self: Any) -> None:
        """After its time a failure opens it for as long again."""
        self.half_open()
        self.provider.say(error(503))
        self.assertEqual((self.status(), self.status()), (503, 503))
        self.assertEqual(self.counted(), [1.0, 2.0, 1.0])

    def test_few_at_first(self: Any) -> None:
        """Only so many are let through to see whether it goes again; the others come again later."""
        self.half_open()
        first = [self.hang(), self.hang()]
        client = self.ask(self.api)
        self.network.settle()
        self.assertEqual((client.answer.status, self.counted()), (503, [0.5, 1.0, 1.0]))
        self.assertEqual(client.answer.header("retry-after"), "30")
        for each in first:
            each.leave()

    def test_place_of_one_that_left(self: Any) -> None:
        """Clients that leave, and requests that tell nothing, don't keep it from closing."""
        self.half_open()
        for _ in range(3):
            self.hang().leave()
            self.hang(ENDLESS, stream=True).leave()
            self.network.settle()
            self.assertEqual(self.after(error(400), times=1)[0], 0.5)
        self.assertEqual((self.status(), self.counted()[0]), (200, 0.0))

    def test_place_of_one_not_recorded(self: Any) -> None:
        """So it is with requests that never reached the provider."""
        self.half_open()
        self.recorder.fail_with(RecordingError("disk full"))
        self.assertEqual({self.status() for _ in range(5)}, {503})
        self.assertEqual(self.counted(), [0.5, 1.0, 0.0])
        self.recorder.fail_with(None)
        self.assertEqual((self.status(), self.counted()[0]), (200, 0.0))

    def test_long_answer(self: Any) -> None:
        """A stream that is well under way closes it: nobody waits for the end of another's long answer."""
        self.half_open()
        client = self.hang(ENDLESS, stream=True)
        self.assertEqual(self.counted()[0], 0.5)
        self.network.wait(3)
        self.assertEqual(self.counted()[0], 0.0)
        client.leave()

    def test_long_silence(self: Any) -> None:
        """A head alone says nothing yet."""
        self.half_open()
        client = self.hang(RawReply(headers={"Content-Type": "text/event-stream"}, ending=Ending.STALL), stream=True)
        self.network.wait(3)
        self.assertEqual(self.counted()[0], 0.5)
        client.leave()

    def test_overloaded_after_its_time(self: Any) -> None:
        """A stream that says it is overloaded opens it again."""
        self.half_open()
        frame = b'data: {"type":"error","error":{"type":"overloaded_error","message":"no"}}\n\n'
        said = RawReply(headers={"Content-Type": "text/event-stream"}, chunks=[frame])
        self.assertEqual(self.after(said, times=1, stream=True), [1.0, 2.0, 0.0])


class MessagesCircuitTests(CircuitContract, ChainTestCase):
    api = MESSAGES


class ChatCircuitTests(CircuitContract, ChainTestCase):
    api = CHAT

    def test_endpoints_apart(self) -> None:
        """What one endpoint does is nothing to another of the same model."""
        self.open()
        self.assertEqual((self.status(), self.answer(RESPONSES).status), (503, 200))


class ResponsesCircuitTests(CircuitContract, ChainTestCase):
    api = RESPONSES

    def test_overloaded_as_openai_says_it(self) -> None:
        """OpenAI's own word for it counts as well."""
        said = Reply(text="a word and another " * 20, stop_after=3, ending=Ending.ERROR)
        self.assertEqual(self.after(said, stream=True), [1.0, 1.0, 0.0])
