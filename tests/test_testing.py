"""The public doubles, from the side of those who test with them."""

import gzip
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import uuid4

import anthropic
import openai
import treq
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from treq.testing import StubTreq
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import ResponseFailed
from twisted.web.server import Site
from zope.interface.verify import verifyObject

from aibridge.errors import RecordingError
from aibridge.interfaces import IRecorder
from aibridge.record.records import InterceptionRecordEnded, PromptUsageRecord, TokenUsageRecord
from aibridge.testing import Ending, FakeProvider, LoopbackServer, MemoryRecorder, RawReply, Reply, ToolCall, Usage
from aibridge.testing.text import pieces

NOW = datetime(2026, 1, 1, tzinfo=UTC)

RICH = Reply(
    thinking="Two cities, so two calls.",
    commentary="Looking it up.",
    text="Es wäre schön — 你好.",
    tool_calls=[ToolCall("weather", {"city": "Zürich"}), ToolCall("weather", {"city": "Oslo", "days": [1, 2]})],
    usage=Usage(input=11, output=22, cache_read=33, reasoning=7),
)


def _prompt(text):
    return PromptUsageRecord(
        id=uuid4(), interception_id=uuid4(), provider_response_id=None, prompt=text, created_at=NOW
    )


class MemoryRecorderTests(SynchronousTestCase):
    """A host's test sees what was recorded and decides when it is durable."""

    def setUp(self):
        self.recorder = MemoryRecorder()

    def test_is_a_recorder(self):
        """It provides the whole interface."""
        self.assertTrue(verifyObject(IRecorder, self.recorder))

    def test_keeps_records_by_id(self):
        """A record is found under its id as soon as its Deferred has fired, which is at once."""
        record = _prompt("hello")
        self.successResultOf(self.recorder.record_prompt_usage(record))
        self.assertEqual(self.recorder.prompts, {record.id: record})

    def test_each_kind_has_its_own_dictionary(self):
        """What a method was given stands in the dictionary of that kind alone."""
        kinds = {
            "record_interception": "interceptions",
            "record_interception_ended": "ended",
            "record_token_usage": "token_usages",
            "record_prompt_usage": "prompts",
            "record_tool_usage": "tool_usages",
            "record_model_thought": "thoughts",
        }
        for method in kinds:
            self.successResultOf(getattr(self.recorder, method)(SimpleNamespace(id=method)))
        kept = {name: list(getattr(self.recorder, name)) for name in kinds.values()}
        self.assertEqual(kept, {name: [method] for method, name in kinds.items()})

    def test_replaces_the_same_id(self):
        """A second record of the same id replaces the first; the history has both."""
        figures = {"id": uuid4(), "interception_id": uuid4(), "provider_response_id": "r", "input_tokens": 1}
        figures |= {"cache_read_input_tokens": 0, "cache_write_input_tokens": 0, "created_at": NOW}
        early, final = TokenUsageRecord(output_tokens=1, **figures), TokenUsageRecord(output_tokens=9, **figures)
        self.successResultOf(self.recorder.record_token_usage(early))
        self.successResultOf(self.recorder.record_token_usage(final))
        self.assertEqual(list(self.recorder.token_usages.values()), [final])
        self.assertEqual(self.recorder.history, [early, final])

    def test_nothing_is_durable_while_held(self):
        """While it holds, records are not kept and no Deferred fires; both happen in order when it releases."""
        first, second = _prompt("1"), InterceptionRecordEnded(id=uuid4(), ended_at=NOW, status="completed")
        self.recorder.hold()
        recorded = [self.recorder.record_prompt_usage(first), self.recorder.record_interception_ended(second)]
        for each in recorded:
            self.assertNoResult(each)
        self.assertEqual((self.recorder.history, self.recorder.held), ([], [first, second]))
        self.recorder.release()
        for each in recorded:
            self.successResultOf(each)
        self.assertEqual((self.recorder.history, self.recorder.held), ([first, second], []))

    def test_after_a_release_records_are_durable_at_once(self):
        """A release ends the holding."""
        self.recorder.hold()
        self.recorder.release()
        self.successResultOf(self.recorder.record_prompt_usage(_prompt("1")))

    def test_fails_when_told(self):
        """Records fail with the given error, and are not kept, until it is taken back."""
        self.recorder.fail_with(RecordingError("away"))
        self.failureResultOf(self.recorder.record_prompt_usage(_prompt("1")), RecordingError)
        self.assertEqual(self.recorder.prompts, {})
        self.recorder.fail_with(None)
        self.successResultOf(self.recorder.record_prompt_usage(_prompt("2")))

    def test_one_failure_spares_the_others(self):
        """Of records that are held, each has its own end."""
        self.recorder.hold()
        kept = self.recorder.record_prompt_usage(_prompt("1"))
        kept.addCallback(lambda _: self.recorder.fail_with(RecordingError("away")))
        lost = self.recorder.record_prompt_usage(_prompt("2"))
        self.recorder.release()
        self.successResultOf(kept)
        self.failureResultOf(lost, RecordingError)


class InMemoryTests(SynchronousTestCase):
    """What the fake provider does, without a socket."""

    def setUp(self):
        self.provider = FakeProvider()

    def ask(self, path="/v1/messages", document=None, method="POST", **options):
        document = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} if document is None else document
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return StubTreq(self.provider).request(method, f"http://p{path}", data=body, **options)

    def answer(self, *arguments, **options):
        response = self.successResultOf(self.ask(*arguments, **options))
        return response, json.loads(self.successResultOf(response.content()))

    def test_without_a_script_it_repeats_the_prompt(self):
        """The same request gets the same answer from every fake provider."""
        _, first = self.answer()
        self.provider = FakeProvider()
        _, second = self.answer()
        self.assertEqual(first, second)
        self.assertEqual(first["content"], [{"type": "text", "text": "You said: hi"}])

    def test_says_what_it_was_given_first(self):
        """Queued replies come first, in their order, then those of the script."""
        self.provider = FakeProvider(lambda question: Reply(text=f"script for {question.model}"))
        self.provider.say(Reply(text="one"), Reply(text="two"))
        said = [self.answer()[1]["content"][0]["text"] for _ in range(3)]
        self.assertEqual(said, ["one", "two", "script for m"])

    def test_a_script_may_answer_later(self):
        """A script that returns a Deferred keeps the client waiting for its answer."""
        later = Deferred()
        self.provider = FakeProvider(lambda question: later)
        client = StubTreq(self.provider)
        waiting = client.post("http://p/v1/messages", json={"model": "m"})
        self.assertNoResult(waiting)
        later.callback(Reply(text="at last"))
        client.flush()
        self.assertEqual(self.successResultOf(waiting).code, 200)

    def test_a_broken_script_shows(self):
        """An error in the script is logged, which fails the test, and the client gets a 500."""
        self.provider = FakeProvider(lambda question: 1 / 0)
        self.assertEqual(self.answer()[0].code, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_what_is_no_reply_shows(self):
        """What a script returns, or a test queues, in place of a reply is named in the logged error."""
        self.provider = FakeProvider(lambda question: "four")
        self.provider.say("three")
        self.assertEqual([self.answer()[0].code for _ in range(2)], [500, 500])
        messages = [failure.getErrorMessage() for failure in self.flushLoggedErrors(TypeError)]
        self.assertEqual(messages, ["a fake provider sends a Reply or a RawReply, not str"] * 2)

    def test_remembers_what_it_was_sent(self):
        """Method, path with its query, headers and the body's bytes are as they came."""
        body = b'{"model": "m",  "model":"n", "messages":[]}'
        self.answer("/v1/messages?beta=true", body, headers={"X-Api-Key": "k"})
        (request,) = self.provider.requests
        self.assertEqual((request.method, request.uri, request.body), ("POST", b"/v1/messages?beta=true", body))
        self.assertEqual(request.headers.getRawHeaders("x-api-key"), ["k"])

    def test_remembers_what_it_said(self):
        """Every reply stands under its response id, with the ids and figures that were made up for it."""
        self.provider.say(Reply(text="x", tool_calls=[ToolCall("f")]))
        _, body = self.answer()
        sent = self.provider.sent[body["id"]]
        self.assertEqual(sent.tool_calls[0].id, body["content"][1]["id"])
        self.assertEqual(sent.usage.output, body["usage"]["output_tokens"])

    def test_forgets_when_told(self):
        """With a limit, only the latest exchanges are kept in mind."""
        self.provider = FakeProvider(remember=2)
        ids = [self.answer()[1]["id"] for _ in range(3)]
        self.assertEqual(list(self.provider.sent), ids[1:])
        self.assertEqual(len(self.provider.requests), 2)

    def test_reads_compressed_requests(self):
        """A gzip or zstd body is understood, and remembered as it came."""
        plain = b'{"model":"m","messages":[{"role":"user","content":"packed"}]}'
        for encoding, compress in [("gzip", gzip.compress), ("zstd", zstandard.compress)]:
            body = compress(plain)
            _, answer = self.answer(document=body, headers={"content-encoding": encoding})
            self.assertEqual(answer["content"][0]["text"], "You said: packed")
            self.assertEqual(self.provider.requests[-1].body, body)

    def test_what_it_refuses(self):
        """Unknown routes are 404 and bodies that no API takes are 400, each in the shape of its API."""
        for path, document, method, status, family in [
            ("/v1/messages", b"{", "POST", 400, "error"),
            ("/v1/messages", b'{"messages":[]}', "POST", 400, "error"),
            ("/v1/messages", b"", "GET", 404, "error"),
            ("/v1/chat/completions", b"[]", "POST", 400, None),
            ("/v1/nothing", b"{}", "POST", 404, None),
        ]:
            response, body = self.answer(path, document, method)
            self.assertEqual((response.code, body.get("type")), (status, family), path)
            self.assertIn("message", body["error"])

    def test_works_with_and_without_v1(self):
        """A base URL that ends in the API's version, or not, leads to the same place; a trailing slash does no harm."""
        for path in ("/chat/completions", "/v1/chat/completions", "/v1/chat/completions/"):
            self.assertEqual(self.answer(path)[1]["object"], "chat.completion")

    def test_a_response_can_be_fetched_again(self):
        """A response of before is there under its id; others are not."""
        _, made = self.answer("/v1/responses", {"model": "m", "input": "hi"})
        self.assertEqual(self.answer(f"/v1/responses/{made['id']}", b"", "GET")[1], made)
        self.assertEqual(self.answer("/v1/responses/resp_none", b"", "GET")[0].code, 404)


class Wire:
    """A client's end of a connection to a provider, in memory."""

    def __init__(self, provider):
        self.channel = Site(provider, reactor=Clock()).buildProtocol(None)
        self.transport = StringTransport()
        self.channel.makeConnection(self.transport)

    def ask(self, path=b"/v1/messages", **members):
        document = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}], **members}
        body = json.dumps(document).encode()
        self.channel.dataReceived(
            b"POST %s HTTP/1.1\r\nHost: p\r\nContent-Length: %d\r\n\r\n" % (path, len(body)) + body
        )
        return self

    def read(self):
        data = self.transport.value()
        self.transport.clear()
        return data

    def leave(self):
        self.channel.connectionLost(Failure(ConnectionDone()))


class DeliveryTests(SynchronousTestCase):
    """How and when bytes go out, and how an answer can go wrong."""

    def test_a_delay_needs_a_clock(self):
        """No clock, no pace: it says so at once."""
        self.assertRaises(ValueError, FakeProvider, delay=0.1)

    def test_streams_at_a_pace(self):
        """Each frame is a write of its own, the first at once, the others a delay apart."""
        clock = Clock()
        wire = Wire(FakeProvider(clock=clock, delay=0.5)).ask()
        self.assertIn(b"event: message_start", wire.read())
        self.assertEqual(wire.read(), b"")
        clock.advance(0.5)
        self.assertIn(b"event: content_block_start", wire.read())
        clock.pump([0.5] * 20)
        self.assertIn(b"event: message_stop", wire.read())
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_stops_while_the_client_reads_nothing(self):
        """An endless answer takes no more chunks while the connection is paused."""
        taken = []

        def endless():
            while True:
                if len(taken) % 3 == 2:
                    wire.transport.producer.pauseProducing()
                taken.append(1)
                yield b"x" * 1000

        provider = FakeProvider(lambda question: RawReply(chunks=endless()))
        wire = Wire(provider)
        wire.ask()
        self.assertEqual(len(taken), 3)
        wire.transport.producer.resumeProducing()
        self.assertEqual(len(taken), 6)

    def test_knows_when_the_client_left(self):
        """The exchange is over with False, and nothing is left to do, when the client goes in the midst."""
        clock = Clock()
        provider = FakeProvider(clock=clock, delay=0.5)
        wire = Wire(provider).ask()
        over = provider.requests[0].over
        self.assertNoResult(over)
        wire.leave()
        self.assertIs(self.successResultOf(over), False)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_knows_when_the_client_left_before_the_answer(self):
        """A reply that comes too late goes nowhere."""
        later = Deferred()
        provider = FakeProvider(lambda question: later)
        wire = Wire(provider).ask()
        wire.leave()
        later.callback(Reply(text="too late"))
        self.assertIs(self.successResultOf(provider.requests[0].over), False)
        self.assertEqual(wire.read(), b"")

    def test_knows_when_all_was_sent(self):
        """The exchange is over with True when the answer went out."""
        provider = FakeProvider()
        Wire(provider).ask()
        self.assertIs(self.successResultOf(provider.requests[0].over), True)

    def broken(self, reply, **members):
        provider = FakeProvider(lambda question: reply)
        wire = Wire(provider).ask(**members)
        return wire.read(), wire.transport.disconnecting

    def test_a_truncated_stream(self):
        """A reply that stops after some frames ends HTTP properly, without the API's own end."""
        data, closed = self.broken(Reply(text="a b c", stop_after=4))
        self.assertEqual((data.count(b"event: "), data[-5:], closed), (4, b"0\r\n\r\n", False))

    def test_a_cut_stream(self):
        """A cut closes the connection after what was sent, short of HTTP's end."""
        data, closed = self.broken(Reply(text="a b c", stop_after=4, ending=Ending.CUT))
        self.assertEqual((data.count(b"event: "), data[-5:] != b"0\r\n\r\n", closed), (4, True, True))

    def test_a_cut_body(self):
        """A JSON body that stops early is always a cut: its length was promised."""
        data, closed = self.broken(Reply(text="a" * 5000, stop_after=2), stream=False)
        self.assertEqual((len(data.partition(b"\r\n\r\n")[2]), closed), (2048, True))

    def test_a_stall(self):
        """A stall sends what it has and leaves the connection open, the exchange not over."""
        provider = FakeProvider(lambda question: Reply(text="a", stop_after=1, ending=Ending.STALL))
        wire = Wire(provider).ask()
        self.assertEqual((wire.read().count(b"event: "), wire.transport.disconnecting), (1, False))
        self.assertNoResult(provider.requests[0].over)

    def test_an_error_frame(self):
        """An error in the midst of a stream is the API's own, and its last."""
        for path, expected in [
            (b"/v1/messages", b'event: error\ndata: {"type":"error","error":{'),
            (b"/v1/chat/completions", b'data: {"error":{"message":'),
            (b"/v1/responses", b'event: error\ndata: {"type":"error","code":'),
        ]:
            provider = FakeProvider(lambda question: Reply(text="a b", stop_after=3, ending=Ending.ERROR))
            frames = Wire(provider).ask(path).read().split(b"\n\n")
            self.assertIn(expected, frames[-2])

    def test_any_answer_at_all(self):
        """A raw reply has the status, the headers and the chunks that it was given."""
        reply = RawReply(status=529, headers={"retry-after": "7", "content-length": "2"}, chunks=[b"n", b"o"])
        data, _ = self.broken(reply)
        self.assertTrue(data.startswith(b"HTTP/1.1 529"))
        self.assertIn(b"Retry-After: 7", data)
        self.assertTrue(data.endswith(b"\r\n\r\nno"))

    def test_no_http_at_all(self):
        """A raw reply without a status is written to the bare connection, which then closes."""
        self.assertEqual(
            self.broken(RawReply(status=None, chunks=[b"220 mail ESMTP\r\n"])), (b"220 mail ESMTP\r\n", True)
        )
        self.assertEqual(self.broken(RawReply(status=None)), (b"", True))


class DeltaTests(SynchronousTestCase):
    """Texts are streamed in parts."""

    @given(st.text())
    def test_deltas_are_the_text(self, text):
        """Put together, the deltas are the text again, whatever stands in it."""
        self.assertEqual("".join(pieces(text)), text)

    @given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
    def test_every_stream_says_what_the_body_says(self, text):
        """In every wire format the deltas of a text give the text of the body."""
        for path, delta in [
            (b"/v1/messages", lambda event: event.get("delta", {}).get("text", "")),
            (b"/v1/chat/completions", lambda event: "".join(c["delta"].get("content") or "" for c in event["choices"])),
            (b"/v1/responses", lambda event: event["delta"] if event["type"].endswith("text.delta") else ""),
        ]:
            provider = FakeProvider(lambda question: Reply(text=text))
            stream = StubTreq(provider).post(
                f"http://p{path.decode()}", json={"model": "m", "stream": True, "messages": [], "input": ""}
            )
            data = self.successResultOf(self.successResultOf(stream).content())
            events = [json.loads(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: {")]
            self.assertEqual("".join(map(delta, events)), text)


class SDKTests(TestCase):
    """The official SDKs, over a real socket, take the fake provider for a real one."""

    @inlineCallbacks
    def setUp(self):
        self.provider = FakeProvider()
        self.server = LoopbackServer(reactor, self.provider)
        url = yield self.server.start()
        self.addCleanup(self.server.stop)
        self.anthropic = anthropic.Anthropic(base_url=url, api_key="k", max_retries=0)
        self.openai = openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)
        self.addCleanup(self.anthropic.close)
        self.addCleanup(self.openai.close)

    def use(self, call, *arguments, **options):
        return deferToThread(call, *arguments, **options)

    def message(self, call):
        return self.use(call, model="m", max_tokens=99, messages=[{"role": "user", "content": "hi"}])

    def check_message(self, message):
        sent = self.provider.sent[message.id]
        thinking, text, *calls = message.content
        self.assertEqual((thinking.thinking, text.text), (sent.thinking, sent.text))
        self.assertTrue(thinking.signature)
        self.assertEqual(
            [(c.id, c.name, c.input) for c in calls], [(c.id, c.name, c.arguments) for c in sent.tool_calls]
        )
        usage = message.usage
        self.assertEqual((usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens), (11, 22, 33))
        self.assertEqual((usage.output_tokens_details.thinking_tokens, message.stop_reason), (7, "tool_use"))

    @inlineCallbacks
    def test_messages(self):
        """A message with thinking and parallel tool calls, whole."""
        self.provider.say(RICH)
        self.check_message((yield self.message(self.anthropic.messages.create)))

    @inlineCallbacks
    def test_messages_streamed(self):
        """The same message, streamed: every kind of event is typed, and they add up to it."""
        self.provider.say(RICH)

        def stream(**request):
            with self.anthropic.messages.stream(**request) as events:
                return {event.type for event in events}, events.get_final_message()

        types, message = yield self.message(stream)
        self.check_message(message)
        self.assertLessEqual({"thinking", "signature", "text", "input_json", "message_stop"}, types)

    def chat(self, call, **options):
        messages = [{"role": "user", "content": "hi"}]
        return self.use(call, model="m", messages=messages, **options)

    def check_completion(self, completion):
        sent = self.provider.sent[completion.id]
        message = completion.choices[0].message
        self.assertEqual(message.content, sent.text)
        self.assertEqual(
            [(c.id, c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls],
            [(c.id, c.name, c.arguments) for c in sent.tool_calls],
        )
        usage = completion.usage
        self.assertEqual((usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens), (44, 33))
        self.assertEqual((usage.completion_tokens, usage.completion_tokens_details.reasoning_tokens), (22, 7))
        self.assertEqual(completion.choices[0].finish_reason, "tool_calls")

    @inlineCallbacks
    def test_chat(self):
        """A completion with parallel tool calls, whole."""
        self.provider.say(RICH)
        self.check_completion((yield self.chat(self.openai.chat.completions.create)))

    @inlineCallbacks
    def test_chat_streamed(self):
        """The same completion, streamed, with its usage, which was asked for."""
        self.provider.say(RICH)

        def stream(**request):
            with self.openai.chat.completions.stream(**request) as events:
                events.until_done()
                return events.get_final_completion()

        completion = yield self.chat(stream, stream_options={"include_usage": True})
        self.check_completion(completion)

    @inlineCallbacks
    def test_chat_streams_no_usage_unasked(self):
        """Without `include_usage` no chunk speaks of usage."""
        chunks = yield self.chat(lambda **request: list(self.openai.chat.completions.create(stream=True, **request)))
        self.assertEqual({chunk.usage for chunk in chunks}, {None})
        self.assertEqual(chunks[-1].choices[0].finish_reason, "stop")

    @inlineCallbacks
    def test_chat_custom_tools(self):
        """A call whose arguments are a text is one of a custom tool."""
        self.provider.say(Reply(tool_calls=[ToolCall("patch", "*** Begin")]))
        completion = yield self.chat(self.openai.chat.completions.create)
        self.assertEqual(completion.choices[0].message.tool_calls[0].custom.input, "*** Begin")

    def check_response(self, response):
        sent = self.provider.sent[response.id]
        reasoning, commentary, text, *calls = response.output
        self.assertEqual(reasoning.summary[0].text, sent.thinking)
        self.assertEqual((commentary.content[0].text, commentary.phase), (sent.commentary, "commentary"))
        self.assertEqual((text.content[0].text, text.phase), (sent.text, "final_answer"))
        self.assertEqual(
            [(c.call_id, c.name, json.loads(c.arguments)) for c in calls],
            [(c.id, c.name, c.arguments) for c in sent.tool_calls],
        )
        usage = response.usage
        self.assertEqual((usage.input_tokens, usage.input_tokens_details.cached_tokens), (44, 33))
        self.assertEqual((usage.output_tokens, usage.output_tokens_details.reasoning_tokens), (22, 7))
        self.assertEqual(len({item.id for item in response.output}), len(response.output))

    @inlineCallbacks
    def test_responses(self):
        """A response with reasoning, commentary, text and parallel calls, whole."""
        self.provider.say(RICH)
        response = yield self.use(self.openai.responses.create, model="m", input="hi")
        self.check_response(response)

    @inlineCallbacks
    def test_responses_streamed(self):
        """The same response, streamed: numbered, typed events that add up to it."""
        self.provider.say(RICH)

        def stream():
            with self.openai.responses.stream(model="m", input="hi") as stream:
                events = list(stream)
                return events, stream.get_final_response()

        events, response = yield self.use(stream)
        self.check_response(response)
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))

    @inlineCallbacks
    def test_responses_custom_tools_and_namespaces(self):
        """Calls of free text and calls within a namespace are what they say, streamed."""
        self.provider.say(Reply(tool_calls=[ToolCall("patch", "*** Begin"), ToolCall("f", namespace="mcp__x")]))

        def stream():
            with self.openai.responses.stream(model="m", input="hi") as stream:
                return stream.get_final_response()

        response = yield self.use(stream)
        custom, function = response.output
        self.assertEqual((custom.type, custom.input), ("custom_tool_call", "*** Begin"))
        self.assertEqual((function.name, function.namespace, function.arguments), ("f", "mcp__x", "{}"))

    @inlineCallbacks
    def test_responses_compacted(self):
        """A compaction keeps the user's messages and adds its own item."""
        compacted = yield self.use(self.openai.responses.compact, model="m", input=[{"role": "user", "content": "hi"}])
        self.assertEqual((compacted.object, compacted.output[-1].type), ("response.compaction", "compaction"))
        self.assertGreater(compacted.usage.output_tokens, 0)

    @inlineCallbacks
    def test_encrypted_reasoning_is_there_when_asked_for(self):
        """Clients that keep no state at the provider get their reasoning's encrypted content."""
        self.provider.say(RICH)
        include = ["reasoning.encrypted_content"]
        response = yield self.use(self.openai.responses.create, model="m", input="hi", include=include)
        self.assertTrue(response.output[0].encrypted_content)

    @inlineCallbacks
    def test_models(self):
        """Each API lists models in its own shape, and knows a single one."""
        page = yield self.use(self.anthropic.models.list)
        one = yield self.use(self.openai.models.retrieve, page.data[0].id)
        self.assertEqual((page.data[0].type, one.object), ("model", "model"))
        listed = yield self.use(self.openai.models.list)
        self.assertEqual([model.id for model in listed.data], [model.id for model in page.data])

    @inlineCallbacks
    def test_count_tokens(self):
        """Tokens of a message can be counted without sending it."""
        messages = [{"role": "user", "content": "hi"}]
        counted = yield self.use(self.anthropic.messages.count_tokens, model="m", messages=messages)
        self.assertGreater(counted.input_tokens, 0)

    @inlineCallbacks
    def test_errors(self):
        """Error answers and error frames raise the SDK's own errors."""
        yield self.assertFailure(self.use(self.anthropic.models.retrieve, "none"), anthropic.NotFoundError)
        yield self.assertFailure(self.use(self.openai.models.retrieve, "none"), openai.NotFoundError)
        self.provider.say(Reply(text="a b c", stop_after=3, ending=Ending.ERROR))
        yield self.assertFailure(
            self.chat(lambda **request: list(self.openai.chat.completions.create(stream=True, **request))),
            openai.APIError,
        )


class LoopbackServerTests(TestCase):
    """A Resource on a socket leaves nothing open."""

    @inlineCallbacks
    def test_stop_closes_open_connections(self):
        """A client in the midst of an answer is cut off, and told so, by the time the server has stopped."""
        provider = FakeProvider(lambda question: Reply(text="a", stop_after=1, ending=Ending.STALL))
        server = LoopbackServer(reactor, provider)
        url = yield server.start()
        response = yield treq.post(f"{url}/v1/messages", json={"model": "m", "stream": True}, persistent=False)
        body = response.content()
        yield server.stop()
        yield self.assertFailure(body, ResponseFailed)
        self.assertIs((yield provider.requests[0].over), False)

    @inlineCallbacks
    def test_a_cut_is_seen_after_what_was_sent(self):
        """A client reads all that was sent before a cut, a megabyte too, then learns that the body is not whole."""
        provider = FakeProvider(lambda question: RawReply(chunks=[b"x" * 1000] * 1000, ending=Ending.CUT))
        server = LoopbackServer(reactor, provider)
        self.addCleanup(server.stop)
        url = yield server.start()
        received = []
        response = yield treq.post(f"{url}/v1/messages", json={"model": "m"}, persistent=False, unbuffered=True)
        yield self.assertFailure(treq.collect(response, received.append), ResponseFailed)
        self.assertEqual(sum(map(len, received)), 1_000_000)

    @inlineCallbacks
    def test_stop_without_start(self):
        """It may be stopped though it never started."""
        yield LoopbackServer(reactor, FakeProvider()).stop()
