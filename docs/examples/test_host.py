import treq
from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource

from aibridge import Actor, AnthropicProvider, RequestBridge
from aibridge.testing import FakeProvider, LoopbackServer, MemoryRecorder, Reply, ToolCall, Usage


class GatewayTests(TestCase):
    async def test_a_tool_call_is_recorded(self):
        """What the model calls is recorded for the host's user, and nothing but the answer comes back."""
        provider = FakeProvider()
        provider.say(Reply(tool_calls=[ToolCall("search", {"for": "owls"})], usage=Usage(input=9, output=4)))
        upstream = LoopbackServer(reactor, provider)
        self.addCleanup(upstream.stop)

        recorder = MemoryRecorder()
        bridge = RequestBridge(
            providers=[AnthropicProvider(base_url=await upstream.start(), api_key="key")],
            recorder=recorder,
            authenticate=lambda request: Actor("alice"),
        )
        self.addCleanup(bridge.stopService)
        root = Resource()
        root.putChild(b"ai", bridge)
        host = LoopbackServer(reactor, root)
        self.addCleanup(host.stop)

        url = await host.start()
        response = await treq.post(
            f"{url}/ai/anthropic/v1/messages",
            json={"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Find owls."}]},
            persistent=False,
        )

        self.assertEqual(response.code, 200)
        self.assertEqual((await response.json())["content"][0]["name"], "search")
        [interception] = recorder.interceptions.values()
        [tokens] = recorder.token_usages.values()
        [call] = recorder.tool_usages.values()
        self.assertEqual(interception.initiator_id, "alice")
        self.assertEqual((tokens.input_tokens, tokens.output_tokens), (9, 4))
        self.assertEqual((call.tool, call.input), ("search", {"for": "owls"}))
