"""Settings that change while requests are under way: these end as they began, later ones follow the new settings."""

from collections import deque
from typing import Any

from attrs import evolve

from aibridge import Actor, AnthropicProvider, BreakerSettings, Limits
from aibridge.testing import Ending, FakeProvider, RawReply, Reply, ToolCall, quiet_site

from .apis import MESSAGES, SECRET
from .client import Client
from .gateway import UPSTREAM, ChainTestCase
from .toolbox import ScriptedToolbox

OTHER_PORT = 9005
OTHER = f"http://192.0.2.9:{OTHER_PORT}"
BREAKER = BreakerSettings(failure_threshold=1, timeout=30.0)
LONG = Reply(text="a word and another " * 20)
OVERLOADED = RawReply(status=503, chunks=[b"{}"])


class NewSettingsTests(ChainTestCase):
    """A gateway with a provider in its old and one in its new place."""

    def setUp(self) -> None:
        super().setUp()
        self.other = FakeProvider(clock=self.network, delay=0.01)
        self.network.serve(OTHER_PORT, quiet_site(self.other, self.network))

    def anthropic(self, base_url: str = UPSTREAM, **settings: Any) -> AnthropicProvider:
        """The provider with other settings."""
        return AnthropicProvider(base_url=base_url, **{"api_key": SECRET} | settings)

    def apply(self, *providers: AnthropicProvider, **settings: Any) -> None:
        """Change the settings of the bridge that is running."""
        self.bridge.apply(
            evolve(self.bridge.settings, providers=providers or self.bridge.settings.providers, **settings)
        )

    def begin(self, **members: Any) -> Client:
        """A client whose stream has begun."""
        client = self.ask(MESSAGES, stream=True, **members)
        self.network.wait(0.05)
        self.assertTrue(client.answer.body and not client.answer.whole)
        return client

    def refused(self, client: Client) -> int:
        """The status with which a request is refused."""
        self.network.wait(1)
        return client.answer.status

    def value(self, name: str, **labels: str) -> float | None:
        """A sample of the metrics."""
        return self.bridge.metrics.registry.get_sample_value(name, labels)

    def test_unusable_settings(self) -> None:
        """Settings that can't be used are refused with the reason, and the bridge serves with those that it has."""
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"providers": [self.anthropic(OTHER, fallback=["spare"])]}, "anthropic.fallback: no other provider is"),
            ({"providers": [self.anthropic(), self.anthropic(OTHER)]}, "providers: two are named 'anthropic'"),
            ({"providers": [AnthropicProvider]}, "providers: must be a list of providers"),
            ({"recorder": "sqlite:///host.sqlite"}, "recorder: must provide IRecorder, as SQLRecorder does, not a str"),
            ({"authenticate": "alice"}, "authenticate: must be a function, or provide IAuthenticator, not a string"),
        ]
        for settings, why in wrong:
            before = self.bridge.settings
            with self.assertRaisesRegex(ValueError, why):
                self.bridge.apply(evolve(before, **settings))
            self.assertIs(self.bridge.settings, before)
            self.assertEqual((self.answer(MESSAGES).status, self.other.requests), (200, deque()))

    def test_stream_under_way(self) -> None:
        """A stream ends whole from the provider with which it began; the next request goes to the new one."""
        self.provider.say(LONG)
        client = self.begin()
        self.apply(self.anthropic(OTHER, api_key="another-key-of-the-provider"))
        later = self.answer(MESSAGES)
        self.network.wait(5)
        self.assertTrue(client.answer.whole)
        self.assertTrue(client.answer.body.rstrip().endswith(b'{"type":"message_stop"}'))
        self.assertEqual((later.status, len(self.provider.requests), len(self.other.requests)), (200, 1, 1))
        self.assertEqual(self.other.requests[0].headers.getRawHeaders("x-api-key"), ["another-key-of-the-provider"])
        self.assertEqual({exchange.ended.status for exchange in self.exchanges}, {"completed"})

    def test_provider_gone(self) -> None:
        """A stream of a provider that is not configured any more ends whole; new requests get 404."""
        self.provider.say(LONG)
        client = self.begin()
        self.apply(evolve(self.anthropic(), name="other"))
        self.assertEqual(self.answer(MESSAGES).status, 404)
        self.network.wait(5)
        self.assertTrue(client.answer.whole)

    def test_later_round(self) -> None:
        """Later rounds of an answer go to the provider, and use the tools, with which the answer began."""
        toolbox = ScriptedToolbox("look")
        toolbox.slow = True
        self.apply(self.anthropic(), toolbox=toolbox)
        self.provider.say(Reply(tool_calls=[ToolCall("bmcp_sky_look", {})]), Reply(text="blue"))
        client = self.ask(MESSAGES, stream=True)
        self.network.wait(1)
        self.apply(self.anthropic(OTHER), toolbox=None)
        self.assertEqual(self.answer(MESSAGES, stream=True).status, 200)
        toolbox.finish()
        self.network.wait(3)
        self.assertTrue(client.answer.whole)
        self.assertIn(b"blue", client.answer.body)
        self.assertEqual((len(self.provider.requests), len(self.other.requests)), (2, 1))

    def test_connections(self) -> None:
        """Free connections to a provider stay, unless the settings of connections change."""
        self.answer(MESSAGES)
        made = len(self.network.connections)
        self.apply(self.anthropic(idle_timeout=7.0))
        self.answer(MESSAGES)
        self.assertEqual(len(self.network.connections), made + 1)  # the client's own
        self.apply(self.anthropic(connect_timeout=7.0))
        self.answer(MESSAGES)
        self.assertEqual(len(self.network.connections), made + 3)

    def test_circuits(self) -> None:
        """An open circuit stays open if the provider is unchanged; a changed provider begins anew."""
        labels = {"provider": "anthropic", "endpoint": "/v1/messages", "model": "model-1"}
        provider = self.anthropic(circuit_breaker=BREAKER)
        self.apply(provider)
        self.provider.say(OVERLOADED)
        self.answer(MESSAGES)
        self.apply(self.anthropic(circuit_breaker=BREAKER), max_concurrent_requests=5)
        self.assertEqual((self.answer(MESSAGES).status, self.value("circuit_breaker_state", **labels)), (503, 1.0))
        self.apply(self.anthropic(OTHER, circuit_breaker=BREAKER))
        self.assertEqual((self.answer(MESSAGES).status, self.value("circuit_breaker_state", **labels)), (200, 0.0))

    def test_late_failure(self) -> None:
        """The failure of an exchange that began before the provider was changed opens no circuit of the new one."""
        self.apply(self.anthropic(circuit_breaker=BREAKER, idle_timeout=5.0))
        self.provider.say(evolve(LONG, stop_after=5, ending=Ending.STALL))
        self.begin()
        self.apply(self.anthropic(OTHER, circuit_breaker=BREAKER))
        self.network.wait(10)
        self.assertEqual(self.bridge.circuits(), {"anthropic": []})
        self.assertEqual(self.answer(MESSAGES).status, 200)

    def test_limits(self) -> None:
        """New limits count the requests that are under way, if there were limits before."""
        self.apply(limits=Limits(concurrent=5))
        self.provider.say(LONG, LONG)
        self.begin()
        self.apply(limits=Limits(concurrent=1))
        self.assertEqual(self.refused(self.ask(MESSAGES)), 429)
        self.apply(limits=None)
        self.begin()
        self.network.wait(9)

    def test_capacity_and_users(self) -> None:
        """The gateway's capacity and its authentication change with the next request."""
        self.provider.say(LONG)
        self.begin()
        self.apply(max_concurrent_requests=1)
        self.assertEqual(self.refused(self.ask(MESSAGES)), 503)
        self.network.wait(9)
        self.apply(authenticate=lambda request: None)
        self.assertEqual(self.answer(MESSAGES).status, 401)
        self.apply(authenticate=lambda request: Actor("alice"))
        self.answer(MESSAGES)
        self.assertEqual([exchange.begun.initiator_id for exchange in self.exchanges], ["anonymous", "alice"])

    def test_finished(self) -> None:
        """The end of all requests that were under way can be waited for, while others come and go."""
        self.provider.say(LONG)
        self.begin()
        finished = self.bridge.finished()
        client = self.ask(MESSAGES)
        self.assertNoResult(finished)
        self.network.wait(9)
        self.assertTrue(client.answer.whole)
        self.successResultOf(finished)
        self.successResultOf(self.bridge.finished())
