"""An exchange that goes well, in each API: what the client gets, what the provider gets, and what is recorded."""

from typing import Any

from aibridge.testing import RawReply, Reply, ToolCall, Usage

from .apis import CHAT, MESSAGES, OWN, RESPONSES, SECRET, Api
from .gateway import ChainTestCase

RICH = Reply(
    thinking="Two cities, so two calls.",
    commentary="Looking it up.",
    text="Es wäre schön — 你好.",
    tool_calls=[ToolCall("weather", {"city": "Zürich"}), ToolCall("weather", {"city": "Oslo"})],
    usage=Usage(input=11, output=22, cache_read=33, cache_write=4, reasoning=7),
)


class ExchangeContract:
    """What holds in every API."""

    api: Api

    def check(self: Any, **members: Any) -> None:
        """The client gets the provider's bytes, the provider the client's, and the rows are right."""
        body = self.api.body("ping", **members)
        wanted = self.direct(body, self.api, RICH)
        self.provider.say(RICH)
        answer = self.answer(self.api, **members)
        [received] = self.provider.requests
        self.assertEqual((answer.status, bytes(answer.body), answer.whole), (200, bytes(wanted.body), True))
        self.assertEqual((received.method, received.body), ("POST", body))
        [sent] = self.provider.sent.values()
        self.assertEqual(self.exchange.faults(self.api, sent, "ping"), [])

    def test_blocking(self: Any) -> None:
        """A JSON answer arrives byte for byte, and its rows are what the provider says it sent."""
        self.check()

    def test_streaming(self: Any) -> None:
        """So does a stream, frame by frame."""
        self.check(stream=True)

    def test_frames_arrive_as_they_come(self: Any) -> None:
        """Nothing waits for the answer's end but its last frame."""
        self.provider.say(Reply(text="one two three four five six seven eight"))
        client = self.ask(self.api, stream=True)
        self.network.settle()
        sizes = [len(client.answer.body)]
        while not client.answer.whole:
            self.network.wait(0.01)
            sizes.append(len(client.answer.body))
        self.assertGreater(len({*sizes}), 8)

    def test_split_anywhere(self: Any) -> None:
        """Frames that arrive cut anywhere, even within a character, are the same bytes and the same rows."""
        body = self.api.body("ping", stream=True)
        stream = bytes(self.direct(body, self.api, RICH).body)
        pieces = [stream[start : start + 7] for start in range(0, len(stream), 7)]
        self.provider.say(RawReply(headers={"Content-Type": "text/event-stream"}, chunks=pieces))
        answer = self.answer(self.api, stream=True)
        self.assertEqual(bytes(answer.body), stream)
        self.assertEqual([row.input for row in self.exchange.tools], [call.arguments for call in RICH.tool_calls])
        self.assertEqual(self.exchange.figures["output_tokens"], 22)

    def test_headers_to_the_provider(self: Any) -> None:
        """The client's headers arrive, less those of its connection and of the gateway."""
        passing = {"Anthropic-Version": "2023-06-01", "User-Agent": "claude-cli/9", "X-Stainless-Os": "Linux"}
        gone = {
            "Connection": "x-named, keep-alive",
            "X-Named": "1",
            "Cookie": "session=1",
            "X-AIBridge-Key": "k",
            "X-AI-Bridge-Actor-ID": "mallory",
            "Te": "trailers",
        }
        self.answer(self.api, headers=passing | gone | {"Accept-Encoding": "gzip"})
        [received] = self.provider.requests
        got = {name.decode() for name, _ in received.headers.getAllRawHeaders()}
        self.assertEqual({name for name in gone if received.headers.hasHeader(name)}, set())
        self.assertLess(passing.keys(), got)
        self.assertEqual(received.headers.getRawHeaders("host"), ["192.0.2.9:9000"])
        self.assertEqual(received.headers.getRawHeaders("accept-encoding"), ["identity"])

    def test_configured_credential(self: Any) -> None:
        """A client without a credential gets the configured one, in the provider's usual header."""
        self.answer(self.api)
        [received] = self.provider.requests
        sent = {name: received.headers.getRawHeaders(name) for name in ("x-api-key", "authorization")}
        anthropic = self.api.provider == "anthropic"
        wanted = [SECRET] if anthropic else None, None if anthropic else [f"Bearer {SECRET}"]
        self.assertEqual((sent["x-api-key"], sent["authorization"]), wanted)
        begun = self.exchange.begun
        self.assertEqual((begun.credential_kind, begun.credential_hint), ("centralized", "sk-c...en"))

    def test_own_credential(self: Any) -> None:
        """A client's own goes through in the header it came in, and the configured one stays at home."""
        for header, value in (("x-api-key", OWN), ("authorization", f"Bearer {OWN}")):
            self.answer(self.api, headers={header: value})
            received = self.provider.requests[-1].headers
            others = {"x-api-key", "authorization"} - {header}
            self.assertEqual(received.getRawHeaders(header), [value])
            self.assertFalse(any(received.hasHeader(name) for name in others))
        kinds = {(each.begun.credential_kind, each.begun.credential_hint) for each in self.exchanges}
        self.assertEqual(kinds, {("byok", "sk-o...en")})

    def test_what_is_recorded_of_the_request(self: Any) -> None:
        """Who asked, with which program, for which model, how."""
        self.answer(self.api, stream=True, headers={"User-Agent": "OpenAI/Python 3.54.0"})
        begun = self.exchange.begun
        self.assertEqual(
            (begun.initiator_id, begun.provider_name, begun.model), ("anonymous", self.api.provider, "model-1")
        )
        self.assertEqual(
            (begun.client, begun.user_agent, begun.streaming), ("OpenAI SDK", "OpenAI/Python 3.54.0", True)
        )

    def test_many_on_one_connection(self: Any) -> None:
        """A client's connection is used again, and so is the provider's."""
        client = self.connect()
        for number in range(3):
            client.send("POST", self.api.path, self.api.body(f"prompt {number}"))
            self.network.wait(1)
        self.assertEqual([answer.status for answer in client.answers], [200, 200, 200])
        self.assertEqual([row.prompts[0].prompt for row in self.exchanges], ["prompt 0", "prompt 1", "prompt 2"])
        self.assertEqual(self.network.attempts, 1)

    def test_pipelined(self: Any) -> None:
        """Requests that are sent without waiting are answered in their order."""
        client = self.connect()
        for number in range(3):
            client.send("POST", self.api.path, self.api.body(f"prompt {number}"))
        self.network.wait(3)
        texts = [bytes(answer.body) for answer in client.answers]
        self.assertEqual([f"prompt {number}".encode() in text for number, text in enumerate(texts)], [True] * 3)

    def test_a_trailing_slash_is_the_same_route(self: Any) -> None:
        """A client that ends its path with a slash is served, and so is its query."""
        client = self.connect()
        client.send("POST", self.api.path + "/?beta=true", self.api.body())
        self.network.wait(1)
        self.assertEqual(client.answer.status, 200)
        self.assertEqual(self.provider.requests[0].uri.decode(), self.api.upstream_path + "?beta=true")


class OwnAgentExchangeContract(ExchangeContract):
    """What is the gateway's own agent's doing; Twisted's keeps the headers of framing to itself."""

    def test_headers_to_the_client(self: Any) -> None:
        """The provider's headers arrive, less those of its connection; the interception's id is added."""
        kept = {
            "Content-Type": "application/json",
            "Content-Length": "2",
            "Request-Id": "req_1",
            "Retry-After": "3",
            "Anthropic-Ratelimit-Tokens-Limit": "80000",
            "Openai-Processing-Ms": "12",
            "Server": "provider",
            "Date": "Thu, 01 Jan 2026 00:00:00 GMT",
        }
        of_connection = {"X-Hop": "1", "Keep-Alive": "timeout=5", "Connection": "X-Hop, keep-alive"}
        lines = [f"{name}: {value}" for name, value in (kept | of_connection).items()]
        self.provider.say(RawReply(status=None, chunks=["\r\n".join(["HTTP/1.1 200 OK", *lines, "", "{}"]).encode()]))
        answer = self.answer(self.api)
        got = {name.decode(): values[0].decode() for name, values in answer.headers.getAllRawHeaders()}
        interception_id = got.pop("X-Aibridge-Interception-Id")
        self.assertEqual(interception_id, str(self.exchange.begun.id))
        self.assertEqual(got, kept)


class MessagesExchangeTests(OwnAgentExchangeContract, ChainTestCase):
    """Anthropic's messages."""

    api = MESSAGES

    def test_both_credentials(self) -> None:
        """A client that sends both its credentials has both passed on."""
        self.answer(self.api, headers={"x-api-key": OWN, "authorization": "Bearer of-the-user"})
        received = self.provider.requests[0].headers
        self.assertEqual(received.getRawHeaders("x-api-key"), [OWN])
        self.assertEqual(received.getRawHeaders("authorization"), ["Bearer of-the-user"])


class ChatExchangeTests(OwnAgentExchangeContract, ChainTestCase):
    """OpenAI's chat completions."""

    api = CHAT

    def hidden_usage(self, **headers: str) -> tuple[Any, bytes]:
        """A stream whose client did not ask for its usage, and what it would be without the usage chunk."""
        stream = bytes(self.direct(self.api.body("ping", stream=True), self.api, RICH).body)
        frames = stream.split(b"\n\n")
        del frames[-3]  # before [DONE] and the empty end
        content = {"Content-Type": "text/event-stream", **{k.replace("_", "-"): v for k, v in headers.items()}}
        if "Content-Length" in content:
            content["Content-Length"] = str(len(stream))
        self.provider.say(RawReply(headers=content, chunks=[stream]))
        return self.answer(self.api, stream=True, stream_options={"x": 1}), b"\n\n".join(frames)

    def test_usage_is_asked_for_and_not_relayed(self) -> None:
        """A client that didn't ask for usage sees no chunk of it; the rows have it; the rest of its body is untouched."""
        answer, wanted = self.hidden_usage()
        asked = self.api.body("ping", stream=True, stream_options={"x": 1})
        [received] = self.provider.requests
        self.assertEqual((bytes(answer.body), answer.whole), (wanted, True))
        self.assertEqual(received.body, asked.replace(b'"x": 1', b'"x": 1,"include_usage":true', 1))
        self.assertEqual(self.exchange.figures["output_tokens"], 22)

    def test_usage_is_hidden_from_a_stream_of_known_length(self) -> None:
        """A stream that came with a Content-Length is whole at the client without the chunk that was hidden."""
        answer, wanted = self.hidden_usage(Content_Length="")
        self.assertEqual((bytes(answer.body), answer.whole), (wanted, True))


class ResponsesExchangeTests(OwnAgentExchangeContract, ChainTestCase):
    """OpenAI's responses."""

    api = RESPONSES
