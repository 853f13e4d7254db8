"""Providers with several keys: which key a conversation uses, and what becomes of a key that is refused."""

from typing import Any

import orjson

from aibridge.testing import FakeProvider, Question, RawReply, Reply, ToolCall, Usage, quiet_site

from .apis import APIS, MESSAGES, OWN, RESPONSES, Api
from .client import Answer
from .gateway import PROVIDER_PORT, ChainTestCase
from .toolbox import ScriptedToolbox

KEYS = tuple(f"sk-pool-{letter * 16}-{letter}{letter}" for letter in "abc")
HINTS = {key: f"sk-p...{key[-2:]}" for key in KEYS}
WORDS = Reply(text="Fine.", usage=Usage(input=3, output=2))


def refusal(status: int, **headers: str) -> RawReply:
    body = {"type": "error", "error": {"type": "rate_limit_error", "message": f"no more ({status})"}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return RawReply(status=status, headers={"content-type": "application/json", **named}, chunks=[orjson.dumps(body)])


class PoolTestCase(ChainTestCase):
    """A provider with three keys, some of which it refuses."""

    def setUp(self) -> None:
        super().setUp()
        self.refused: dict[str, RawReply] = {}
        """The refusals of keys, by key."""
        self.provider = FakeProvider(self.say, clock=self.network)
        self.network.serve(PROVIDER_PORT, quiet_site(self.provider, self.network))
        self.start({"api_key": None, "api_keys": KEYS})

    def say(self, question: Question) -> Reply | RawReply:
        return self.refused.get(self.key_of(question.request), WORDS)

    def key_of(self, request: Any) -> str:
        headers = request.headers
        return str((headers.getRawHeaders("x-api-key") or headers.getRawHeaders("authorization"))[0]).removeprefix(
            "Bearer "
        )

    @property
    def used(self) -> list[str]:
        """The keys of all requests to the provider, in their order."""
        return [self.key_of(request) for request in self.provider.requests]

    def of_session(self, session: str, api: Api = MESSAGES, **members: Any) -> Answer:
        headers = {"User-Agent": "claude-cli/2.0", "X-Claude-Code-Session-Id": session}
        return self.answer(api, headers=headers, **members)

    def sample(self, name: str, **labels: str) -> float | None:
        found: float | None = self.bridge.metrics.registry.get_sample_value(name, labels)
        return found


class ChoiceTests(PoolTestCase):
    """The key of a conversation."""

    def test_kept(self) -> None:
        """A conversation keeps its key, and all keys are used."""
        for number in range(24):
            for _ in range(2):
                self.of_session(f"session-{number}")
        self.assertEqual(self.used[::2], self.used[1::2])
        self.assertEqual(set(self.used), set(KEYS))

    def test_same_in_every_process(self) -> None:
        """Another gateway chooses the same key, even if its configuration has the keys in another order."""
        for number in range(8):
            self.of_session(f"session-{number}")
        self.start({"api_key": None, "api_keys": KEYS[::-1]})
        for number in range(8):
            self.of_session(f"session-{number}")
        self.assertEqual(self.used[:8], self.used[8:])

    def test_recorded(self) -> None:
        """The row has the hint of the key."""
        for api in APIS:
            self.answer(api)
            self.assertEqual(self.exchanges[-1].begun.credential_hint, HINTS[self.used[-1]])

    def test_own_credential(self) -> None:
        """A client's own credential is no part of the pool, and a refusal of it cools no key."""
        self.refused[OWN] = refusal(429)
        for _ in range(3):
            self.assertEqual(self.answer(MESSAGES, headers={"x-api-key": OWN}).status, 429)
        self.assertEqual(self.used, [OWN] * 3)
        self.assertEqual(self.bridge.keys(), {"anthropic": [], "openai": []})


class CoolingTests(PoolTestCase):
    """Keys that are refused."""

    def first_key(self, session: str = "s") -> str:
        self.of_session(session)
        return self.used[-1]

    def test_next_key_serves(self) -> None:
        """A request whose key is refused goes on with another one; the client notices nothing, and the row says so."""
        for status in (429, 401):
            first = self.first_key(f"s{status}")
            self.refused = {first: refusal(status)}
            before = len(self.used)
            for stream in (False, True):
                answer = self.of_session(f"s{status}", stream=stream)
                self.assertEqual((answer.status, answer.whole), (200, True))
            self.assertEqual(self.used[before], first)
            [second] = set(self.used[before + 1 :])
            self.assertNotEqual(second, first)
            self.assertEqual(len(self.used), before + 3, "the refused key is left alone")
            self.assertEqual({each.begun.credential_hint for each in self.exchanges[-2:]}, {HINTS[second]})
            self.assertEqual(self.exchanges[-2].ended.upstream_requests, 2)
            # A recorder takes a record without requests for that of a new interception.
            self.assertEqual(self.exchanges[-2].begun.upstream_requests, 2)
            self.network.advance(3600)

    def test_conversation_stays(self) -> None:
        """A conversation that has changed its key keeps the new one when the first may be used again."""
        first = self.first_key()
        self.refused = {first: refusal(429, retry_after="7")}
        self.of_session("s")
        second = self.used[-1]
        self.refused.clear()
        self.network.advance(8)
        self.of_session("s")
        self.assertEqual((self.used[-1], first == second), (second, False))
        self.assertEqual(self.bridge.keys()["anthropic"], [])

    def test_retry_after(self) -> None:
        """A key rests for as long as the provider says, or else for 30 s, and twice as long after each refusal."""
        first = self.first_key()
        for told, seconds in (("7", 7), (None, 30), (None, 60), ("Thu, 01 Jan 1970 00:00:00 GMT", 1), (None, 120)):
            self.refused = {key: refusal(429, **({"retry_after": told} if told else {})) for key in KEYS}
            self.of_session("s")
            [mine] = [each for each in self.bridge.keys()["anthropic"] if each["key"] == HINTS[first]] or [None]
            if seconds > 1:
                self.assertEqual(mine, {"key": HINTS[first], "state": "cooling", "seconds": seconds - 3})
            self.network.advance(3600)

    def test_never_lost(self) -> None:
        """Every key is used again when its time is over, however long the provider said."""
        self.refused = {key: refusal(429, retry_after="99999999") for key in KEYS}
        self.of_session("s")
        self.refused.clear()
        self.network.advance(86400)
        before = len(self.used)
        for number in range(24):
            self.assertEqual(self.of_session(f"session-{number}").status, 200)
        self.assertEqual(set(self.used[before:]), set(KEYS))

    def test_other_statuses(self) -> None:
        """Other errors cool no key: 403 and 400 speak of the request, 529 of the provider."""
        first = self.first_key()
        for status in (400, 403, 404, 500, 529):
            self.refused = {first: refusal(status)}
            self.assertEqual(self.of_session("s").status, status)
        self.assertEqual(set(self.used), {first})

    def test_all_cold(self) -> None:
        """With all keys refused the last 429 passes, with the shortest time; the provider is then left alone."""
        times = dict(zip(KEYS, ("40", "20", "90"), strict=True))
        self.refused = {key: refusal(429, retry_after=seconds) for key, seconds in times.items()}
        answer = self.of_session("s")
        self.assertEqual((answer.status, answer.header("retry-after")), (429, "20"))
        self.assertEqual(sorted(self.used), sorted(KEYS))
        self.network.advance(5)
        for api in APIS[:1]:
            again = self.answer(api)
            self.assertEqual((again.status, again.header("retry-after"), again.body), (429, "12", answer.body))
        self.assertEqual(len(self.used), 3)
        self.assertEqual(self.exchanges[-1].end, ("failed", 429))
        self.assertEqual(self.exchanges[-1].ended.upstream_requests, 0)
        self.network.advance(13)
        self.refused.clear()
        self.assertEqual(self.of_session("another").status, 200)
        self.assertEqual(self.used[3:], [KEYS[1]])

    def test_all_unauthorized(self) -> None:
        """With all keys rejected, the provider's own error passes."""
        self.refused = {key: refusal(401) for key in KEYS}
        for _ in range(2):
            self.assertEqual(self.of_session("s").status, 401)
        self.assertEqual(len(self.used), 3)

    def test_pinned(self) -> None:
        """What goes on from something that the provider keeps for a key never changes to another key."""
        for api, members in (
            (MESSAGES, {"thread": {"type": "continue", "previous_message_id": "msg_1"}}),
            (RESPONSES, {"previous_response_id": "resp_1"}),
            (RESPONSES, {"conversation": "conv_1"}),
        ):
            self.start({"api_key": None, "api_keys": KEYS})
            self.refused = {key: refusal(429, retry_after="9") for key in KEYS}
            before = len(self.used)
            answer = self.answer(api, **members)
            self.assertEqual((answer.status, answer.header("retry-after")), (429, "9"))
            self.assertEqual(self.answer(api, **members).status, 429)
            self.assertEqual(len(self.used), before + 1)

    def test_passed_routes(self) -> None:
        """A request that passes through goes on with another key too."""
        pool = self.bridge.keys()
        self.assertEqual(pool, {"anthropic": [], "openai": []})
        self.of_session("s")
        self.refused = {self.used[-1]: refusal(429)}
        headers = {"User-Agent": "claude-cli/2.0", "X-Claude-Code-Session-Id": "s"}
        client = self.connect()
        client.send("POST", "/anthropic/v1/messages", MESSAGES.body(), headers)
        self.network.wait(2)
        moved = self.used[-1]
        client = self.connect()
        client.send("GET", "/anthropic/v1/models", headers=headers)
        self.network.wait(2)
        self.assertEqual(self.used[-1], moved)

    def test_metrics(self) -> None:
        """Metrics say which key cools, how often and why."""
        first = self.first_key()
        self.assertEqual(self.sample("key_state", provider="anthropic", hint=HINTS[first]), 1.0)
        self.refused = {first: refusal(429)}
        self.of_session("s")
        self.assertEqual(self.sample("key_state", provider="anthropic", hint=HINTS[first]), 0.0)
        labels = {"provider": "anthropic", "hint": HINTS[first], "reason": "rate_limited"}
        self.assertEqual(self.sample("key_cooldowns_total", **labels), 1.0)
        self.network.advance(31)
        self.assertEqual(self.sample("key_state", provider="anthropic", hint=HINTS[first]), 1.0)


class RoundTests(PoolTestCase):
    """Answers in several rounds."""

    def test_refused_in_a_later_round(self) -> None:
        """A round goes on with another key as long as the provider has not begun to answer it."""

        def say(question: Question) -> Reply | RawReply:
            if question.tool_result is None:
                return Reply(tool_calls=[ToolCall("bmcp_sky_now", {}, id="c1")])
            return self.refused.setdefault(self.key_of(question.request), refusal(429)) if not self.refused else WORDS

        self.provider = FakeProvider(say, clock=self.network)
        self.network.serve(PROVIDER_PORT, quiet_site(self.provider, self.network))
        for stream in (False, True):
            self.refused.clear()
            self.provider.requests.clear()
            self.start({"api_key": None, "api_keys": KEYS}, toolbox=ScriptedToolbox("now"))
            answer = self.answer(MESSAGES, stream=stream)
            self.assertEqual((answer.status, answer.whole), (200, True))
            self.assertEqual((self.used[0], len(self.used)), (self.used[1], 3))
            self.assertNotEqual(self.used[1], self.used[2])
            self.assertEqual(self.exchanges[-1].begun.credential_hint, HINTS[self.used[2]])
            self.assertEqual(self.exchanges[-1].end, ("completed", 200))
