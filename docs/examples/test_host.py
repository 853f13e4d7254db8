from treq.testing import RequestTraversalAgent, StubTreq
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from aibridge import Actor, AnthropicProvider, RequestBridge
from aibridge.testing import FakeProvider, MemoryRecorder, Reply, ToolCall, Usage


class GatewayTests(SynchronousTestCase):
    def test_a_tool_call_is_recorded(self):
        """A tool call of the model's is recorded for the host's user; no socket is opened."""
        provider = FakeProvider()
        provider.say(Reply(tool_calls=[ToolCall("search", {"for": "owls"})], usage=Usage(input=9, output=4)))
        upstream = RequestTraversalAgent(provider)

        recorder = MemoryRecorder()
        bridge = RequestBridge(
            providers=[AnthropicProvider(api_key="key")],
            recorder=recorder,
            authenticate=lambda request: Actor("alice"),
            agent=upstream,
            reactor=Clock(),
        )
        self.addCleanup(bridge.stopService)
        root = Resource()
        root.putChild(b"ai", bridge)
        client = StubTreq(root)

        responding = client.post(
            "http://gateway/ai/anthropic/v1/messages",
            json={"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Find owls."}]},
        )
        upstream.flush()
        client.flush()
        response = self.successResultOf(responding)
        self.assertEqual(response.code, 200)
        message = self.successResultOf(response.json())

        self.assertEqual(message["content"][0]["name"], "search")
        [interception] = recorder.interceptions.values()
        [tokens] = recorder.token_usages.values()
        [call] = recorder.tool_usages.values()
        self.assertEqual(interception.initiator_id, "alice")
        self.assertEqual((tokens.input_tokens, tokens.output_tokens), (9, 4))
        self.assertEqual((call.tool, call.input), ("search", {"for": "owls"}))
