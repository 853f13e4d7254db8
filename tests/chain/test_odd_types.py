"""Answers whose Content-Type does not say what they are: streams as JSON, JSON as a stream, and streams nobody asked for."""

from typing import Any

import orjson

from aibridge.testing import RawReply, Reply, ToolCall, Usage

from .apis import APIS, CHAT, Api
from .gateway import ChainTestCase
from .toolbox import ScriptedToolbox

WORDS = Reply(
    text="High water. ", tool_calls=[ToolCall("look", {"at": "it"}, id="c1")], usage=Usage(input=20, output=7)
)
CALLS = Reply(
    tool_calls=[ToolCall("bmcp_sky_tides", {"at": "hidden-argument"}, id="c2")], usage=Usage(input=10, output=5)
)
LAST_WORDS = Reply(text="Calm. ", usage=Usage(input=20, output=7))
TYPES = ("application/json", "text/event-stream", "text/plain; charset=utf-8", "application/octet-stream", None)


class OddTypesTests(ChainTestCase):
    """Every form of an answer under every type, streamed or not."""

    def as_sent(self, api: Api, reply: Reply, *, stream: bool, **members: Any) -> bytes:
        """The bytes of an answer, from a provider without a gateway."""
        return bytes(self.direct(api.body("ping", stream=stream, **members), api, reply).body)

    def say(self, content_type: str | None, *bodies: bytes, with_length: bool = False) -> None:
        for body in bodies:
            headers = {"content-type": content_type} if content_type else {}
            headers |= {"content-length": str(len(body))} if with_length else {}
            chunks = [body] if with_length else [body[:1], body[1:50], body[50:]]
            self.provider.say(RawReply(headers=headers, chunks=chunks))

    def test_read(self) -> None:
        """The client gets the provider's bytes and type, and the rows have everything, whatever was asked for."""
        for api in APIS:
            for content_type in TYPES:
                for is_stream in (True, False):
                    for asked in (True, False):
                        body = self.as_sent(api, WORDS, stream=is_stream)
                        self.say(content_type, body)
                        answer = self.answer(api, stream=asked)
                        case = (api.name, content_type, is_stream, asked)
                        self.assertEqual((bytes(answer.body), answer.whole), (body, True), case)
                        self.assertEqual(answer.header("content-type"), content_type, case)
                        exchange = self.exchanges[-1]
                        self.assertEqual(exchange.end, ("completed", 200), case)
                        figures = exchange.figures
                        self.assertEqual((figures["input_tokens"], figures["output_tokens"]), (20, 7), case)
                        self.assertTrue(figures["metadata"]["complete"], case)
                        self.assertEqual([row.tool for row in exchange.tools], ["look"], case)

    def test_length(self) -> None:
        """A stream with a Content-Length under the type of JSON arrives whole, although the gateway cuts its own figures."""
        body = self.as_sent(CHAT, WORDS, stream=True)
        for content_type in TYPES:
            self.say(content_type, body, with_length=True)
            answer = self.answer(CHAT, stream=True, stream_options=None)
            self.assertTrue(answer.whole)
            self.assertNotIn(b'"prompt_tokens"', bytes(answer.body))
            self.assertIn(b"[DONE]", bytes(answer.body))
            self.assertEqual(self.exchanges[-1].figures["input_tokens"], 20)

    def test_nothing_is_cut(self) -> None:
        """A stream that nobody asked for passes with its figures: the gateway has not asked for them."""
        body = self.as_sent(CHAT, WORDS, stream=True)
        self.say("text/event-stream", body)
        answer = self.answer(CHAT, stream_options=None)
        self.assertEqual(bytes(answer.body), body)
        self.assertIn(b'"prompt_tokens"', body)

    def test_injected_tools(self) -> None:
        """Tools run in every form under every type, and the answer goes on in its form."""
        self.start(toolbox=ScriptedToolbox("now", "tides"))
        for api in APIS:
            for content_type in TYPES:
                for is_stream in (True, False):
                    for asked in (True, False):
                        bodies = [self.as_sent(api, reply, stream=is_stream) for reply in (CALLS, LAST_WORDS)]
                        self.say(content_type, *bodies)
                        answer = self.answer(api, stream=asked)
                        case = (api.name, content_type, is_stream, asked)
                        self.assertTrue(answer.whole, case)
                        self.assertIn(b"Calm.", bytes(answer.body), case)
                        self.assertNotIn(b"hidden-argument", bytes(answer.body), case)
                        self.assertEqual(self.exchanges[-1].end, ("completed", 200), case)
                        self.assertEqual([row.injected for row in self.exchanges[-1].tools], [True], case)

    def test_form_changes(self) -> None:
        """An answer that began in one form and would go on in the other is an error of the API."""
        self.start(toolbox=ScriptedToolbox("now", "tides"))
        for api in APIS:
            for forms in ((True, False), (False, True)):
                bodies = [
                    self.as_sent(api, reply, stream=form)
                    for reply, form in zip((CALLS, LAST_WORDS), forms, strict=True)
                ]
                self.say("application/json", *bodies)
                client = self.ask(api)
                self.network.wait(3)
                if forms[0]:
                    self.assertTrue(api.error_event(bytes(client.answer.body)))
                else:
                    self.assertEqual(client.answer.status, 502)
                    self.assertTrue(api.error_of(client.answer.json))
                self.assertEqual(self.exchanges[-1].ended.status, "failed")

    def test_error_as_a_stream(self) -> None:
        """The type of a JSON error is recorded, also if it comes under the type of a stream."""
        for api in APIS:
            fields = {"type": "overloaded_error", "message": "x"}
            body = orjson.dumps(
                {"type": "error", "error": fields} if api.provider == "anthropic" else {"error": fields}
            )
            for status, recorded in ((529, "overloaded_error (HTTP 529)"), (200, "overloaded_error")):
                self.provider.say(RawReply(status=status, headers={"content-type": "text/event-stream"}, chunks=[body]))
                answer = self.answer(api, stream=True)
                self.assertEqual((answer.status, bytes(answer.body)), (status, body))
                self.assertEqual(self.exchanges[-1].ended.error, recorded)
