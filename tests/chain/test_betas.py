"""Injected tools under Anthropic's newer betas: the provider finds each conversation as it went."""

from collections.abc import Sequence
from typing import Any

import orjson

from aibridge.testing import RawReply
from aibridge.testing.messages import event

from .apis import MESSAGES
from .gateway import ChainTestCase
from .toolbox import ScriptedToolbox

Json = dict[str, Any]
JSON, SSE = {"content-type": "application/json"}, {"content-type": "text/event-stream"}
USAGE = {"input_tokens": 1, "output_tokens": 1}


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def think(name: str, signature: str | None = None) -> Json:
    return {"type": "thinking", "thinking": name, "signature": f"sig-{name}" if signature is None else signature}


def call(call_id: str, name: str = "bmcp_sky_tides") -> Json:
    return {"type": "tool_use", "id": call_id, "name": name, "input": {}}


FALLBACK = {
    "type": "fallback",
    "from": {"model": "claude-a"},
    "to": {"model": "claude-b"},
    "trigger": {"type": "refusal", "category": "cyber"},
}
ADVICE = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "advisor", "input": {}},
    {
        "type": "advisor_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": {"type": "advisor_redacted_result", "encrypted_content": "EqQ", "stop_reason": "end_turn"},
    },
]
OLD_COMPACTION = {"type": "compaction", "content": "So far: tides."}
NEW_COMPACTION = OLD_COMPACTION | {"signature": "sig-compaction", "tool_changes": []}


class BetaTestCase(ChainTestCase):
    """A conversation of several turns, streamed or not, whose requests to the provider are compared."""

    def setUp(self) -> None:
        super().setUp()
        self.toolbox = ScriptedToolbox("tides")
        self.start(toolbox=self.toolbox)
        self.number = 0

    def reply(self, blocks: Sequence[Json], stream: bool, stop_reason: str = "") -> RawReply:
        """The answer of a model with these blocks."""
        self.number += 1
        stop_reason = stop_reason or ("tool_use" if blocks[-1]["type"] == "tool_use" else "end_turn")
        head = {"id": f"msg_{self.number}", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
        if not stream:
            body = head | {"content": blocks, "stop_reason": stop_reason, "usage": USAGE}
            return RawReply(headers=JSON, chunks=[orjson.dumps(body)])
        frames = [event("message_start", message=head | {"content": [], "stop_reason": None, "usage": USAGE})]
        for index, block in enumerate(blocks):
            frames += [
                event("content_block_start", index=index, content_block=block),
                event("content_block_stop", index=index),
            ]
        frames.append(event("message_delta", delta={"stop_reason": stop_reason, "stop_sequence": None}, usage=USAGE))
        return RawReply(headers=SSE, chunks=[*frames, event("message_stop")])

    def turn(self, history: list[Json], *rounds: Sequence[Json], stream: bool, **members: Any) -> list[Json]:
        """Send the history, let the model answer in these rounds, and return the answer's blocks."""
        self.provider.say(*[self.reply(blocks, stream) for blocks in rounds])
        answer = self.answer(MESSAGES, messages=history, stream=stream, **members)
        self.assertEqual((answer.status, answer.whole), (200, True), bytes(answer.body))
        if not stream:
            return list(answer.json["content"])
        events = [orjson.loads(line[6:]) for line in bytes(answer.body).split(b"\n") if line.startswith(b"data: ")]
        starts = [each for each in events if each["type"] == "content_block_start"]
        self.assertEqual([each["index"] for each in starts], [*range(len(starts))])
        return [each["content_block"] for each in starts]

    def asked(self) -> list[list[Json]]:
        """The messages of each request to the provider."""
        return [orjson.loads(request.body)["messages"] for request in self.provider.requests]

    def check(self, first: Sequence[Json], returned: Sequence[Json], shown: Sequence[Json], stream: bool) -> None:
        """A turn with a hidden round of these blocks is shown so, and comes back whole in the next turn."""
        self.provider.requests.clear()
        last = [think("t9"), text("High.")]
        question = {"role": "user", "content": f"tides? {self.number}"}
        said = self.turn([question], first, last, stream=stream)
        self.assertEqual(said, [*shown, *last])
        history = [question, {"role": "assistant", "content": said}, {"role": "user", "content": "and?"}]
        self.turn(history, [text("Low.")], stream=stream)
        _, second, third = self.asked()
        self.assertEqual(second[1], {"role": "assistant", "content": [*returned]})
        self.assertEqual(third[: len(second)], second)
        self.assertEqual(third[len(second) :], [{"role": "assistant", "content": last}, history[-1]])


class FallbackTests(BetaTestCase):
    """Server-side fallbacks: one message by two models."""

    def test_before_a_call(self) -> None:
        """The mark between two models keeps its place, whatever stands around it."""
        for stream in (True, False):
            for around in ([text("a")], [think("t1"), text("a")], []):
                blocks = [*around, FALLBACK, call(f"c{self.number}")]
                self.check(blocks, blocks, blocks[:-1], stream)
                blocks = [*around, FALLBACK, think("t2"), text("b"), call(f"c{self.number}")]
                self.check(blocks, blocks, blocks[:-1], stream)

    def test_void_calls(self) -> None:
        """Calls of the model that declined are neither run nor sent back, and thinking that it broke off is not either."""
        for stream in (True, False):
            self.toolbox.runs.clear()
            before = [think("t1"), text("a")]
            cut = [think("t2", signature="")]
            live = [text("b"), call("live")]
            blocks = [*before, *cut, call("void"), FALLBACK, *live]
            self.check(blocks, [*before, FALLBACK, *live], [*before, *cut, FALLBACK, *live[:-1]], stream)
            self.assertEqual([run.call.id for run in self.toolbox.runs], ["live"])

    def test_void_call_of_the_client(self) -> None:
        """A call of the client's tool that is void does not end the gateway's rounds."""
        for stream in (True, False):
            blocks = [text("a"), call("void", "look"), FALLBACK, text("b"), call("live")]
            self.check(blocks, [blocks[0], *blocks[2:]], blocks[:-1], stream)


class AdvisorTests(BetaTestCase):
    """Tools that the provider runs, such as the advisor."""

    def test_before_a_call(self) -> None:
        """The provider's call and its result stay together in the hidden round, and come once."""
        for stream in (True, False):
            for blocks in ([*ADVICE], [text("a"), *ADVICE], [think("t1"), *ADVICE, text("b")]):
                called = [*blocks, call(f"c{self.number}")]
                self.check(called, called, blocks, stream)


class CompactionTests(BetaTestCase):
    """Compaction by the provider."""

    def test_before_a_call(self) -> None:
        """A compaction at the beginning of an answer with hidden rounds keeps its place."""
        for stream in (True, False):
            for compaction in (OLD_COMPACTION, NEW_COMPACTION):
                blocks = [compaction, text("a"), call(f"c{self.number}")]
                self.check(blocks, blocks, blocks[:-1], stream)
                self.check([compaction, blocks[-1]], [compaction, blocks[-1]], [compaction], stream)

    def test_conversation_after_it(self) -> None:
        """The conversation keeps its tools when only the compaction is left of it."""
        for stream in (True, False):
            for compaction in (OLD_COMPACTION, NEW_COMPACTION):
                self.toolbox.offers = ["tides"]
                question = {"role": "user", "content": f"tides? {self.number}"}
                said = self.turn([question], [text("a"), call(f"c{self.number}")], [text("High.")], stream=stream)
                history = [question, {"role": "assistant", "content": said}]
                summary = self.turn(history, [compaction], stream=stream, compaction={"type": "summarize"})
                self.assertEqual(summary, [compaction])
                self.toolbox.offers = ["other"]
                self.turn(
                    [{"role": "assistant", "content": summary}, {"role": "user", "content": "and?"}],
                    [text("Low.")],
                    stream=stream,
                )
                tools = [orjson.loads(request.body)["tools"] for request in [*self.provider.requests][-4:]]
                self.assertEqual(tools, [tools[0]] * 4)
                before, compacted = self.asked()[-3:-1]
                self.assertEqual(compacted[: len(before)], before)


class ToolChangeTests(BetaTestCase):
    """Tools that come and go within a conversation."""

    def test_around_hidden_rounds(self) -> None:
        """Messages of the system with tool changes keep their places around hidden rounds."""
        removal = {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "look"}}
        system = {"role": "system", "content": [removal]}
        for stream in (True, False):
            self.provider.requests.clear()
            question = {"role": "user", "content": f"tides? {stream}"}
            tools = MESSAGES.tools(["look"])
            first = [think("t1"), call(f"c{self.number}")]
            said = self.turn([question, system], first, [text("High.")], stream=stream, tools=tools)
            history = [
                question,
                system,
                {"role": "assistant", "content": said},
                {"role": "user", "content": "and?"},
                system,
            ]
            self.turn(history, [text("Low.")], stream=stream, tools=tools)
            _, second, third = self.asked()
            self.assertEqual(second[:2], [question, system])
            self.assertEqual(third[: len(second)], second)
            self.assertEqual(third[-1], system)

    def test_inline_tools(self) -> None:
        """A tool that the client defines in its messages takes the place of one of the gateway's of that name."""
        definition = MESSAGES.tools(["bmcp_sky_tides"])[0]
        addition = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": definition}}
        self.toolbox.offers = ["now", "tides"]
        for stream in (True, False):
            history = [{"role": "user", "content": "tides?"}, {"role": "system", "content": [addition]}]
            said = self.turn(history, [call("c1")], stream=stream)
            self.assertEqual(said, [call("c1")])
            names = [tool["name"] for tool in orjson.loads(self.provider.requests[-1].body)["tools"]]
            self.assertEqual(names, ["bmcp_sky_now"])
        self.assertEqual(self.toolbox.runs, [])
