"""Token figures in the forms of many providers, from the provider's answer to the rows and metrics."""

from typing import Any

import orjson

from aibridge.testing import Ending, RawReply

from .apis import CHAT, MESSAGES, RESPONSES, Api, Json
from .client import Answer
from .gateway import ChainTestCase

JSON = {"content-type": "application/json"}
EVENT_STREAM = {"content-type": "text/event-stream"}
DONE = b"data: [DONE]\n\n"


def chat_chunk(**members: Any) -> bytes:
    return b"data: " + orjson.dumps({"id": "c", "model": "grok-9", **members}) + b"\n\n"


def event(kind: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **members}))


TEXT = chat_chunk(choices=[{"index": 0, "delta": {"content": "Well"}, "finish_reason": None}])
ERROR = chat_chunk(error={"code": "overloaded", "message": "x"}, choices=[])
FIGURES = chat_chunk(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 4})


class UsageTestCase(ChainTestCase):
    """A provider that sends what the test says."""

    def told(self, api: Api, *pieces: bytes, ending: Ending = Ending.COMPLETE, **members: Any) -> Answer:
        """A stream of these pieces, as the client gets it."""
        self.provider.say(RawReply(headers=EVENT_STREAM, chunks=pieces, ending=ending))
        return self.answer(api, stream=True, **members)

    def counted(self, api: Api, document: Json) -> Any:
        """The row of figures of a whole answer."""
        self.provider.say(RawReply(headers=JSON, chunks=[orjson.dumps(document)]))
        self.answer(api)
        return self.exchanges[-1].usages[0]

    @property
    def tokens(self) -> list[tuple[int, int]]:
        """Input and output of each row."""
        return [(row.input_tokens, row.output_tokens) for row in self.exchange.usages]


class ErrorTests(UsageTestCase):
    """Figures that a provider sends after an error in a stream."""

    def test_chat(self) -> None:
        """They are recorded, and the client gets all bytes."""
        answer = self.told(CHAT, TEXT, ERROR, FIGURES, DONE, stream_options={"include_usage": True})
        self.assertEqual((bytes(answer.body), answer.whole), (TEXT + ERROR + FIGURES + DONE, True))
        self.assertEqual(self.tokens, [(9, 4)])
        self.assertEqual((self.exchange.end, self.exchange.ended.error), (("failed", 200), "overloaded"))

    def test_not_asked_for(self) -> None:
        """A client that did not ask for the figures does not get them."""
        answer = self.told(CHAT, TEXT, ERROR + FIGURES + DONE, stream_options={"include_usage": False})
        self.assertEqual(bytes(answer.body), TEXT + ERROR + DONE)
        self.assertEqual(self.tokens, [(9, 4)])

    def test_responses(self) -> None:
        """The response object after an error has them."""
        created = event("response.created", response={"id": "resp_1", "status": "in_progress"})
        error = event("error", code="server_error", message="x", sequence_number=2)
        usage = {"input_tokens": 9, "output_tokens": 4}
        failed = event("response.failed", response={"id": "resp_1", "status": "failed", "usage": usage})
        self.assertEqual(bytes(self.told(RESPONSES, created, error, failed).body), created + error + failed)
        self.assertEqual(self.tokens, [(9, 4)])
        self.assertEqual(self.exchange.ended.error, "server_error")

    def test_broken_off(self) -> None:
        """A stream may break off after its error: the error reaches the client, and the row names it."""
        for ending in (Ending.COMPLETE, Ending.CUT):
            answer = self.told(CHAT, TEXT, FIGURES, ERROR, ending=ending, stream_options={"include_usage": True})
            self.assertEqual(bytes(answer.body), TEXT + FIGURES + ERROR)
            ended = self.exchanges[-1].ended
            self.assertEqual((ended.status, ended.error), ("failed", "overloaded"))
            self.assertEqual(self.exchanges[-1].usages[0].output_tokens, 4)

    def test_open(self) -> None:
        """A connection that stays open after an error is closed soon, and the client gets the error."""
        self.provider.say(RawReply(headers=EVENT_STREAM, chunks=[TEXT, ERROR], ending=Ending.STALL))
        client = self.ask(CHAT, stream=True)
        self.network.wait(0.5)
        self.assertEqual(bytes(client.answer.body), TEXT)
        self.network.wait(2)
        self.assertEqual((bytes(client.answer.body), client.answer.whole), (TEXT + ERROR, True))
        self.assertEqual((self.exchange.end, self.exchange.ended.error), (("failed", 200), "overloaded"))
        self.assertFalse(self.successResultOf(self.provider.requests[-1].over))

    def test_client_leaves(self) -> None:
        """A client that leaves after an error has not cancelled its request."""
        self.provider.say(RawReply(headers=EVENT_STREAM, chunks=[TEXT, ERROR], ending=Ending.STALL))
        client = self.ask(CHAT, stream=True)
        self.network.wait(0.5)
        client.transport.abortConnection()
        self.network.wait(3)
        self.assertEqual((self.exchange.ended.status, self.exchange.ended.error), ("failed", "overloaded"))


class ServedTests(UsageTestCase):
    """The answer's own words on how it was served."""

    def test_whole(self) -> None:
        """Model and tier stand in the answer, Anthropic's further words in its usage object."""
        usage = {"output_tokens": 1, "service_tier": "priority", "speed": "fast", "inference_geo": "us"}
        row = self.counted(MESSAGES, {"type": "message", "id": "m", "model": "claude-x", "content": [], "usage": usage})
        served = (row.served_model, row.service_tier, row.speed, row.inference_geo)
        self.assertEqual(served, ("claude-x", "priority", "fast", "us"))
        for api in (CHAT, RESPONSES):
            row = self.counted(api, {"id": "r", "model": "gpt-x", "service_tier": "flex", "status": "completed"})
            self.assertEqual((row.served_model, row.service_tier, row.speed), ("gpt-x", "flex", None))

    def test_streamed(self) -> None:
        """In a stream they come with its first events, and the last one counts."""
        usage = {"input_tokens": 5, "output_tokens": 1, "service_tier": "standard"}
        start = event("message_start", message={"id": "m", "model": "claude-x", "usage": usage})
        delta = event("message_delta", delta={}, usage={"input_tokens": 0, "output_tokens": 7})
        self.told(MESSAGES, start, delta, event("message_stop"))
        self.told(
            CHAT, chat_chunk(service_tier="auto", choices=[]), chat_chunk(service_tier="default", choices=[]), DONE
        )
        created = event("response.created", response={"id": "r", "model": "gpt-x", "service_tier": "auto"})
        last = {"id": "r", "status": "completed", "service_tier": "flex"}
        self.told(RESPONSES, created, event("response.completed", response=last))
        rows = [exchange.usages[0] for exchange in self.exchanges]
        served = [(row.served_model, row.service_tier) for row in rows]
        self.assertEqual(served, [("claude-x", "standard"), ("grok-9", "default"), ("gpt-x", "flex")])
        self.assertEqual((rows[0].input_tokens, rows[0].output_tokens), (5, 7))

    def test_iterations(self) -> None:
        """A step that is billed beside the answer has a row, and is in the metrics."""
        steps = [
            {"type": "message", "output_tokens": 1},
            {"type": "compaction", "input_tokens": 70, "output_tokens": 3},
        ]
        usage = {"input_tokens": 5, "output_tokens": 1, "iterations": steps}
        self.counted(MESSAGES, {"type": "message", "id": "m", "model": "claude-x", "content": [], "usage": usage})
        self.assertEqual(self.tokens, [(5, 1), (70, 3)])
        self.assertEqual(self.exchange.usages[1].metadata, {"iteration": "compaction", "complete": True})
        labels = {"provider": "anthropic", "model": "model-1", "initiator_id": "anonymous", "client": "Unknown"}
        value = self.bridge.metrics.registry.get_sample_value("tokens_total", {**labels, "type": "input"})
        self.assertEqual(value, 75)


class ProfileTests(UsageTestCase):
    """A provider with `usage_profile`."""

    def test_xai(self) -> None:
        """Reasoning is added to the output of chat completions, and of those only."""
        usage = {
            "prompt_tokens": 9,
            "completion_tokens": 4,
            "completion_tokens_details": {"reasoning_tokens": 50},
        }
        responses_usage = {"input_tokens": 9, "output_tokens": 54, "output_tokens_details": {"reasoning_tokens": 50}}
        for profile, output in (("openai", 4), ("xai", 54)):
            self.start(openai={"usage_profile": profile})
            self.assertEqual(self.counted(CHAT, {"id": "c", "usage": usage}).output_tokens, output)
            row = self.counted(RESPONSES, {"id": "r", "status": "completed", "usage": responses_usage})
            self.assertEqual(row.output_tokens, 54)
