"""The official SDKs, as their users use them."""

from typing import Any

import anthropic
import openai

from aibridge.testing import Ending, RawReply, Reply, ToolCall, Usage

from ..chain.apis import CHAT, MESSAGES, OWN, RESPONSES
from .gateway import GatewayTestCase, on_asyncio

REPLY = Reply(
    thinking="Hm.",
    text="Es wäre schön — 你好.",
    tool_calls=[ToolCall("weather", {"city": "Zürich"}), ToolCall("weather", {"city": "Oslo"})],
    usage=Usage(input=11, output=22, cache_read=33),
)
TOOLS = ["weather"]
ASKED: Any = {"model": "model-1", "messages": [{"role": "user", "content": "ping"}]}
ERRORS = (
    (400, "BadRequestError"),
    (401, "AuthenticationError"),
    (403, "PermissionDeniedError"),
    (404, "NotFoundError"),
    (429, "RateLimitError"),
    (500, "InternalServerError"),
    (529, "InternalServerError"),
)


class SDKTestCase(GatewayTestCase):
    """A gateway that records in SQLite, and SDKs that don't try twice."""

    async def setUp(self) -> None:
        super().setUp()
        self.with_sqlite()
        self.url = await self.start()
        common = {"api_key": OWN, "max_retries": 0}
        self.anthropic = anthropic.AsyncAnthropic(base_url=f"{self.url}/anthropic", **common)
        self.openai = openai.AsyncOpenAI(base_url=f"{self.url}/openai/v1", **common)
        self.addCleanup(self.close)

    async def close(self) -> None:
        await on_asyncio(self.anthropic.close())
        await on_asyncio(self.openai.close())

    async def ask(self, coroutine: Any, reply: Any = REPLY) -> Any:  # type: ignore[override]
        """What an SDK makes of a reply."""
        self.provider.say(reply)
        return await on_asyncio(coroutine)

    def assert_recorded(self, api: Any) -> None:
        """The rows of the one exchange are what the provider says it sent."""
        [exchange] = self.exchanges
        [sent] = self.provider.sent.values()
        self.assertEqual(exchange.faults(api, sent, "ping"), [])
        self.assertEqual((exchange.begun.credential_kind, exchange.begun.client[-3:]), ("byok", "SDK"))

    async def assert_errors(self, library: Any, ask: Any) -> None:
        """Every status of the provider's raises the SDK's own class, with its message and headers."""
        for status, name in ERRORS:
            body = b'{"type":"error","error":{"type":"t","message":"the provider\'s words","code":"c"}}'
            headers = {"content-type": "application/json", "retry-after": "7"}
            self.provider.say(RawReply(status=status, headers=headers, chunks=[body]))
            raised = await self.assertFailure(on_asyncio(ask()), getattr(library, name))
            self.assertEqual((raised.status_code, raised.response.headers["retry-after"]), (status, "7"))
            self.assertIn("the provider's words", str(raised))

    async def assert_own_errors(self, library: Any, ask: Any) -> None:
        """So do the gateway's: here of a provider whose body breaks off, and of a gateway that drains."""
        self.provider.say(Reply(text="x" * 5000, stop_after=1, ending=Ending.CUT))
        broke = await self.assertFailure(on_asyncio(ask()), library.InternalServerError)
        self.assertEqual(broke.status_code, 502)
        await self.bridge.drain(1)
        draining = await self.assertFailure(on_asyncio(ask()), library.InternalServerError)
        self.assertEqual((draining.status_code, draining.response.headers["retry-after"]), (503, "1"))


class AnthropicTests(SDKTestCase):
    """`anthropic`, messages."""

    request = {**ASKED, "max_tokens": 100, "tools": MESSAGES.tools(TOOLS)}

    def assert_message(self, message: Any) -> None:
        self.assertEqual([block.type for block in message.content], ["thinking", "text", "tool_use", "tool_use"])
        self.assertEqual((message.content[0].thinking, message.content[1].text), ("Hm.", REPLY.text))
        self.assertEqual([block.input["city"] for block in message.content[2:]], ["Zürich", "Oslo"])
        self.assertEqual((message.stop_reason, message.usage.output_tokens), ("tool_use", 22))
        self.assert_recorded(MESSAGES)

    async def test_create(self) -> None:
        """A message."""
        self.assert_message(await self.ask(self.anthropic.messages.create(**self.request)))

    async def test_stream(self) -> None:
        """A stream with its typed events, and the message that they add up to."""

        async def stream() -> Any:
            async with self.anthropic.messages.stream(**self.request) as events:
                kinds = [event.type async for event in events]
                return kinds, await events.get_final_message()

        kinds, message = await self.ask(stream())
        self.assertLess({"message_start", "thinking", "text", "input_json", "message_stop"}, {*kinds})
        self.assert_message(message)

    async def test_raw_stream(self) -> None:
        """Plain events."""

        async def stream() -> Any:
            return [event.type async for event in await self.anthropic.messages.create(**self.request, stream=True)]

        kinds = await self.ask(stream())
        self.assertEqual((kinds[0], kinds[-1]), ("message_start", "message_stop"))
        self.assert_recorded(MESSAGES)

    async def test_errors(self) -> None:
        """The provider's errors."""
        await self.assert_errors(anthropic, lambda: self.anthropic.messages.create(**self.request))

    async def test_own_errors(self) -> None:
        """The gateway's."""
        await self.assert_own_errors(anthropic, lambda: self.anthropic.messages.create(**self.request))

    async def test_broken_stream(self) -> None:
        """A stream that breaks off raises, and never is half a message taken for a whole one."""

        async def stream() -> Any:
            return [event async for event in await self.anthropic.messages.create(**self.request, stream=True)]

        self.provider.say(Reply(text="word " * 50, stop_after=9, ending=Ending.CUT))
        raised = await self.assertFailure(on_asyncio(stream()), anthropic.APIStatusError)
        self.assertIn("broke off", str(raised))

    async def test_count_tokens_and_models(self) -> None:
        """What passes through."""
        asked = {"model": "model-1", "messages": ASKED["messages"]}
        counted = await on_asyncio(self.anthropic.messages.count_tokens(**asked))
        models = await on_asyncio(self.anthropic.models.list())
        self.assertGreater(counted.input_tokens, 0)
        self.assertIn("claude-fake-1", [model.id for model in models.data])


class ChatTests(SDKTestCase):
    """`openai`, chat completions."""

    request = {**ASKED, "tools": CHAT.tools(TOOLS)}

    def assert_message(self, message: Any) -> None:
        cities = [call.function.arguments for call in message.tool_calls]
        self.assertEqual((message.content, cities), (REPLY.text, ['{"city":"Zürich"}', '{"city":"Oslo"}']))
        self.assert_recorded(CHAT)

    async def test_create(self) -> None:
        """A completion."""
        completion = await self.ask(self.openai.chat.completions.create(**self.request))
        self.assertEqual((completion.usage.prompt_tokens, completion.usage.completion_tokens), (44, 22))
        self.assert_message(completion.choices[0].message)

    async def test_stream(self) -> None:
        """A stream with its typed events, and the completion that they add up to."""

        async def stream() -> Any:
            async with self.openai.chat.completions.stream(**self.request) as events:
                kinds = [event.type async for event in events]
                return kinds, await events.get_final_completion()

        kinds, completion = await self.ask(stream())
        self.assertLess({"content.delta", "content.done", "tool_calls.function.arguments.done"}, {*kinds})
        self.assert_message(completion.choices[0].message)

    async def test_usage(self) -> None:
        """A raw stream has its usage chunk where it was asked for, and none where it wasn't."""

        async def stream(**options: Any) -> Any:
            chunks = await self.openai.chat.completions.create(**self.request, stream=True, **options)
            return [chunk.usage async for chunk in chunks if chunk.usage]

        [usage] = await self.ask(stream(stream_options={"include_usage": True}))
        self.assertEqual(usage.completion_tokens, 22)
        self.assertEqual(await self.ask(stream()), [])
        self.assertEqual([each.figures["output_tokens"] for each in self.exchanges], [22, 22])

    async def test_errors(self) -> None:
        """The provider's errors."""
        await self.assert_errors(openai, lambda: self.openai.chat.completions.create(**self.request))

    async def test_own_errors(self) -> None:
        """The gateway's."""
        await self.assert_own_errors(openai, lambda: self.openai.chat.completions.create(**self.request))

    async def test_broken_stream(self) -> None:
        """A stream that breaks off raises."""

        async def stream() -> Any:
            return [chunk async for chunk in await self.openai.chat.completions.create(**self.request, stream=True)]

        self.provider.say(Reply(text="word " * 50, stop_after=9, ending=Ending.CUT))
        raised = await self.assertFailure(on_asyncio(stream()), openai.APIError)
        self.assertIn("broke off", str(raised))


class ResponsesTests(SDKTestCase):
    """`openai`, responses."""

    request: Any = {"model": "model-1", "input": "ping", "tools": RESPONSES.tools(TOOLS)}

    def assert_response(self, response: Any) -> None:
        kinds = ["reasoning", "message", "function_call", "function_call"]
        self.assertEqual([item.type for item in response.output], kinds)
        self.assertEqual((response.output_text, response.status), (REPLY.text, "completed"))
        self.assertEqual((response.usage.input_tokens, response.usage.output_tokens), (44, 22))
        self.assert_recorded(RESPONSES)

    async def test_create(self) -> None:
        """A response."""
        self.assert_response(await self.ask(self.openai.responses.create(**self.request)))

    async def test_stream(self) -> None:
        """A stream with its typed events, and the response that they add up to."""

        async def stream() -> Any:
            async with self.openai.responses.stream(**self.request) as events:
                kinds = [event.type async for event in events]
                return kinds, await events.get_final_response()

        kinds, response = await self.ask(stream())
        self.assertEqual((kinds[0], kinds[-1]), ("response.created", "response.completed"))
        self.assertIn("response.function_call_arguments.done", kinds)
        self.assert_response(response)

    async def test_retrieve(self) -> None:
        """A response that was made is fetched through the gateway."""
        made = await self.ask(self.openai.responses.create(**self.request))
        fetched = await on_asyncio(self.openai.responses.retrieve(made.id))
        self.assertEqual(fetched, made)

    async def test_errors(self) -> None:
        """The provider's errors."""
        await self.assert_errors(openai, lambda: self.openai.responses.create(**self.request))

    async def test_own_errors(self) -> None:
        """The gateway's."""
        await self.assert_own_errors(openai, lambda: self.openai.responses.create(**self.request))

    async def test_broken_stream(self) -> None:
        """A stream that breaks off raises, or ends with the error's own event."""

        async def stream() -> Any:
            return [event.type async for event in await self.openai.responses.create(**self.request, stream=True)]

        self.provider.say(Reply(text="word " * 50, stop_after=9, ending=Ending.CUT))
        raised = await self.assertFailure(on_asyncio(stream()), openai.APIError, Exception)
        self.assertNotIsInstance(raised, self.failureException)
