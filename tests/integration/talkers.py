"""Users of the official SDKs who keep a conversation going: what they get, they send back, and nothing more."""

from collections.abc import Mapping
from typing import Any, Protocol

import anthropic
import openai
import orjson
from attrs import frozen

from ..chain.apis import CHAT, MESSAGES, OWN, RESPONSES
from .gateway import on_asyncio

Json = dict[str, Any]
OWN_TOOL = "weather"


@frozen
class RoundResult:
    """One answer, as the SDK has put it together."""

    thoughts: list[str]
    text: str
    calls: list[tuple[str, str, Json]]
    """Id, name and arguments."""
    tokens: tuple[int, int]
    """Those of the input and of the output."""


class Talker(Protocol):
    """One conversation in one API."""

    async def say(self, words: str) -> RoundResult:
        """A turn of the user's."""

    async def bring(self, results: Mapping[str, str]) -> RoundResult:
        """The results of the client's own tools, by the calls' ids."""

    def go_to(self, url: str) -> None:
        """Talks to another gateway from now on."""

    async def close(self) -> None:
        """Ends its connections."""


class MessagesTalker:
    """Anthropic's SDK; it moves its cache breakpoints on with every request, as agents do."""

    def __init__(self, url: str, streaming: bool, **members: Any) -> None:
        self.messages: list[Json] = []
        self._client = anthropic.AsyncAnthropic(base_url=f"{url}/anthropic", api_key=OWN, max_retries=0)
        self._streaming = streaming
        tools = [{**tool, "cache_control": _MARK} for tool in MESSAGES.tools([OWN_TOOL])]
        system = [{"type": "text", "text": "Be brief.", "cache_control": _MARK}]
        self._asked = {"model": "claude-1", "max_tokens": 100, "system": system, "tools": tools, **members}

    async def say(self, words: str) -> RoundResult:
        return await self._ask({"type": "text", "text": words})

    async def bring(self, results: Mapping[str, str]) -> RoundResult:
        return await self._ask(
            *({"type": "tool_result", "tool_use_id": call, "content": result} for call, result in results.items())
        )

    def go_to(self, url: str) -> None:
        self._client.base_url = f"{url}/anthropic"

    async def close(self) -> None:
        await on_asyncio(self._client.close())

    async def _ask(self, *blocks: Json) -> RoundResult:
        self._move_marks()
        self.messages.append({"role": "user", "content": [*blocks[:-1], blocks[-1] | {"cache_control": _MARK}]})
        message = await on_asyncio(self._stream() if self._streaming else self._create())
        content = [block.model_dump(exclude_none=True, exclude={"parsed_output"}) for block in message.content]
        self.messages.append({"role": "assistant", "content": content})
        return RoundResult(
            [block["thinking"] for block in content if block["type"] == "thinking"],
            "".join(block["text"] for block in content if block["type"] == "text"),
            [(block["id"], block["name"], block["input"]) for block in content if block["type"] == "tool_use"],
            (message.usage.input_tokens, message.usage.output_tokens),
        )

    def _move_marks(self) -> None:
        """Breakpoints at the end of the last answer, and (see `_ask`) at the end of what is new."""
        for message in self.messages:
            for block in message["content"]:
                block.pop("cache_control", None)
        if self.messages and self.messages[-1]["content"][-1]["type"] != "thinking":
            self.messages[-1]["content"][-1]["cache_control"] = _MARK

    async def _create(self) -> Any:
        return await self._client.messages.create(**self._asked, messages=self.messages)

    async def _stream(self) -> Any:
        async with self._client.messages.stream(**self._asked, messages=self.messages) as events:
            return await events.get_final_message()


_MARK = {"type": "ephemeral"}


class ThreadTalker(MessagesTalker):
    """Anthropic's SDK with a message thread: the provider keeps the conversation, and gets what is new."""

    def __init__(self, url: str, streaming: bool) -> None:
        super().__init__(url, streaming)
        self._previous: str | None = None

    async def _create(self) -> Any:
        return self._went_on(await self._client.messages.create(**self._in_thread()))

    async def _stream(self) -> Any:
        async with self._client.messages.stream(**self._in_thread()) as events:
            return self._went_on(await events.get_final_message())

    def _in_thread(self) -> Json:
        if self._previous is None:
            return {**self._asked, "messages": self.messages, "extra_body": {"thread": {"type": "create"}}}
        kept = {key: value for key, value in self._asked.items() if key not in ("tools", "system")}
        thread = {"type": "continue", "previous_message_id": self._previous}
        return {**kept, "messages": self.messages[-1:], "extra_body": {"thread": thread}}

    def _went_on(self, message: Any) -> Any:
        self._previous = message.id
        return message


class ResponsesTalker:
    """OpenAI's SDK, with responses: the provider keeps the conversation (``store``), or the client does."""

    def __init__(self, url: str, streaming: bool, store: bool = True) -> None:
        self.items: list[Json] = []
        self._client = openai.AsyncOpenAI(base_url=f"{url}/openai/v1", api_key=OWN, max_retries=0)
        self._streaming = streaming
        self._store = store
        self._previous: str | None = None
        keeping = {} if store else {"store": False, "include": ["reasoning.encrypted_content"]}
        self._asked = {"model": "gpt-1", "tools": RESPONSES.tools([OWN_TOOL]), **keeping}

    async def say(self, words: str) -> RoundResult:
        return await self._ask({"role": "user", "content": words})

    async def bring(self, results: Mapping[str, str]) -> RoundResult:
        return await self._ask(
            *({"type": "function_call_output", "call_id": call, "output": output} for call, output in results.items())
        )

    def go_to(self, url: str) -> None:
        self._client.base_url = f"{url}/openai/v1"

    async def close(self) -> None:
        await on_asyncio(self._client.close())

    async def _ask(self, *items: Json) -> RoundResult:
        self.items += items
        sent = {"input": items, "previous_response_id": self._previous} if self._store else {"input": self.items}
        sent = {key: value for key, value in sent.items() if value is not None}
        response = await on_asyncio(self._stream(sent) if self._streaming else self._create(sent))
        output = [item.to_dict() for item in response.output]
        for item in output:
            item.pop("parsed_arguments", None)
        self.items += output
        self._previous = response.id
        return RoundResult(
            [item["summary"][0]["text"] for item in output if item["type"] == "reasoning"],
            response.output_text,
            [(i["call_id"], i["name"], orjson.loads(i["arguments"])) for i in output if i["type"] == "function_call"],
            (response.usage.input_tokens, response.usage.output_tokens),
        )

    async def _create(self, sent: Json) -> Any:
        return await self._client.responses.create(**self._asked, **sent)

    async def _stream(self, sent: Json) -> Any:
        async with self._client.responses.stream(**self._asked, **sent) as events:
            return await events.get_final_response()


class StatelessTalker(ResponsesTalker):
    """The same for clients that keep the conversation themselves."""

    def __init__(self, url: str, streaming: bool) -> None:
        super().__init__(url, streaming, store=False)


class ForgetfulTalker(StatelessTalker):
    """The same for clients that ask for no encrypted reasoning: they send items back without reasoning and ids."""

    def __init__(self, url: str, streaming: bool) -> None:
        super().__init__(url, streaming)
        del self._asked["include"]

    async def _ask(self, *items: Json) -> RoundResult:
        result = await super()._ask(*items)
        # A message of an answer without hidden rounds is the client's own affair.
        kept = [item for item in self.items if item.get("type") != "reasoning"]
        self.items = [{key: value for key, value in item.items() if key != "id"} for item in kept]
        return result


class ChatTalker:
    """OpenAI's SDK, with chat completions."""

    def __init__(self, url: str, streaming: bool) -> None:
        self.messages: list[Json] = [{"role": "system", "content": "Be brief."}]
        self._client = openai.AsyncOpenAI(base_url=f"{url}/openai/v1", api_key=OWN, max_retries=0)
        self._streaming = streaming
        self._asked: Json = {"model": "gpt-1", "tools": CHAT.tools([OWN_TOOL])}

    async def say(self, words: str) -> RoundResult:
        return await self._ask({"role": "user", "content": words})

    async def bring(self, results: Mapping[str, str]) -> RoundResult:
        return await self._ask(
            *({"role": "tool", "tool_call_id": call, "content": result} for call, result in results.items())
        )

    def go_to(self, url: str) -> None:
        self._client.base_url = f"{url}/openai/v1"

    async def close(self) -> None:
        await on_asyncio(self._client.close())

    async def _ask(self, *messages: Json) -> RoundResult:
        self.messages += messages
        completion = await on_asyncio(self._stream() if self._streaming else self._create())
        message = completion.choices[0].message.model_dump(exclude_none=True, exclude={"parsed"})
        calls = message.get("tool_calls", [])
        for call in calls:
            call["function"].pop("parsed_arguments", None)
            call.pop("index", None)
        self.messages.append(message)
        return RoundResult(
            [],
            message.get("content", ""),
            [(call["id"], call["function"]["name"], orjson.loads(call["function"]["arguments"])) for call in calls],
            (completion.usage.prompt_tokens, completion.usage.completion_tokens),
        )

    async def _create(self) -> Any:
        return await self._client.chat.completions.create(**self._asked, messages=self.messages)

    async def _stream(self) -> Any:
        options = {"include_usage": True}
        asked = {**self._asked, "messages": self.messages, "stream_options": options}
        async with self._client.chat.completions.stream(**asked) as events:
            return await events.get_final_completion()
