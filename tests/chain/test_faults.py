"""What a provider can do wrong: what the client sees of it, and what the rows say."""

import gzip
import zlib
from typing import Any

import zstandard
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher

from aibridge import Actor
from aibridge.testing import CannedServer, Ending, RawReply, Reply, ToolCall

from .apis import CHAT, MESSAGES, RESPONSES, Api
from .gateway import PROVIDER_PORT, ChainTestCase

LONG = Reply(text="a word and another " * 200, tool_calls=[ToolCall("look", {"at": "it"})])


class FaultContract:
    """What holds in every API."""

    api: Api

    def refused(self: Any, status: int, seconds: float = 3, stream: bool = False) -> Any:
        """An exchange that ends with an answer of the gateway's own, in the API's shape; its rows agree."""
        client = self.ask(self.api, stream=stream)
        self.network.wait(seconds)
        answer = client.answer
        self.assertEqual((answer.status, answer.whole), (status, True))
        self.assertTrue(self.api.error_of(answer.json))
        self.assertEqual(self.exchange.end, ("failed", status))
        self.assertEqual(self.exchange.ended.error, answer.json["error"]["message"])
        self.assertEqual(answer.header("x-aibridge-interception-id"), str(self.exchange.begun.id))
        return answer

    def broken(self: Any, seconds: float = 3) -> Any:
        """A stream that ends with an error event and without HTTP's end; its rows agree."""
        client = self.ask(self.api, stream=True)
        self.network.wait(seconds)
        answer = client.answer
        self.assertEqual((answer.status, answer.whole, client.closed), (200, False, True))
        self.assertTrue(self.api.error_event(bytes(answer.body))["message"])
        self.assertNotIn(self.api.last, answer.body)
        self.assertEqual(self.exchange.end, ("failed", 200))
        self.assertTrue(self.exchange.ended.error)
        self.assertEqual([row.metadata["complete"] for row in self.exchange.usages], [False])
        return answer

    def provider_is_free(self: Any) -> None:
        """The provider's side was closed, not left to itself."""
        self.assertEqual(self.successResultOf(self.provider.requests[-1].over), False)

    def test_refused(self: Any) -> None:
        """502 where no connection is to be had, after two more tries. The client reads the cause, not the address."""
        self.network.close_port(PROVIDER_PORT)
        said: list[str] = []
        globalLogPublisher.addObserver(observer := lambda event: said.append(formatEvent(event) or ""))
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        answer = self.refused(502)
        self.assertEqual(answer.json["error"]["message"], f"{self.api.provider} refused the connection.")
        self.assertIn(f"no response from {self.api.provider}: ", "".join(said))
        self.assertEqual((self.network.attempts, self.exchange.ended.upstream_requests), (3, 3))

    def test_refused_at_first(self: Any) -> None:
        """A provider that refuses for a moment only isn't noticed."""
        site = self.network._servers[PROVIDER_PORT]
        self.network.close_port(PROVIDER_PORT)
        self.network.callLater(0.02, self.network.serve, PROVIDER_PORT, site)
        self.assertEqual((self.answer(self.api).status, self.network.attempts), (200, 2))

    def test_reset(self: Any) -> None:
        """502 for a connection that is closed before an answer; it isn't tried again, it may have cost something."""
        self.network.serve(PROVIDER_PORT, CannedServer(closes=True))
        self.refused(502)
        self.assertEqual(self.network.attempts, 1)

    def test_cut_body(self: Any) -> None:
        """502 for a JSON body that breaks off."""
        for ending in (Ending.CUT, Ending.COMPLETE):
            self.recorder.__init__()
            self.provider.say(Reply(text="x" * 5000, stop_after=2, ending=ending))
            self.refused(502)

    def test_cut_stream(self: Any) -> None:
        """A stream that breaks off says so, and has no proper end."""
        self.provider.say(Reply(text="a word and another " * 20, stop_after=9, ending=Ending.CUT))
        self.broken()
        self.assertIsNotNone(self.exchange.response_id)

    def test_cut_within_a_frame(self: Any) -> None:
        """Half a frame never reaches the client; the error stands where the next whole one would."""
        stream = bytes(self.direct(self.api.body("ping", stream=True), self.api, LONG).body)
        frames = stream.split(b"\n\n")
        whole = b"\n\n".join(frames[:5]) + b"\n\n"
        chunks = [whole, frames[5][:-3]]
        self.provider.say(RawReply(headers={"Content-Type": "text/event-stream"}, chunks=chunks, ending=Ending.CUT))
        answer = self.broken()
        self.assertTrue(bytes(answer.body).startswith(whole))
        self.assertEqual(bytes(answer.body).count(b"\n\n"), 6)

    def test_closed_without_its_end(self: Any) -> None:
        """A stream that only ends with its connection, before it said its end, is one that broke off."""
        stream = bytes(self.direct(self.api.body("ping", stream=True), self.api, LONG).body)
        half = b"\n\n".join(stream.split(b"\n\n")[:5]) + b"\n\n"
        self.bare(b"text/event-stream", half)
        self.assertTrue(bytes(self.broken().body).startswith(half))

    def test_closed_body_without_its_end(self: Any) -> None:
        """502 for a JSON body that only ends with its connection, in its midst."""
        self.bare(b"application/json", b'{"id": "msg_1", "content"')
        self.refused(502)

    def test_closed_after_its_end(self: Any) -> None:
        """A stream that said its end is whole, however its body ends."""
        stream = bytes(self.direct(self.api.body("ping", stream=True), self.api, LONG).body)
        self.bare(b"text/event-stream", stream)
        answer = self.answer(self.api, stream=True)
        self.assertTrue(answer.whole)
        self.assertEqual(self.exchange.end, ("completed", 200))

    def bare(self: Any, content_type: bytes, body: bytes) -> None:
        """The next answer has no length and no chunks."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: " + content_type + b"\r\nConnection: close\r\n\r\n"
        self.provider.say(RawReply(status=None, chunks=[head + body]))

    def test_compressed_unasked(self: Any) -> None:
        """An answer that comes compressed although nobody asked for it is unpacked, and so recorded."""
        for stream in (True, False):
            plain = bytes(self.direct(self.api.body("ping", stream=stream), self.api, LONG).body)
            for coding, packed in (
                ("gzip", gzip.compress(plain)),
                ("X-GZip", gzip.compress(plain)),
                ("deflate", zlib.compress(plain)),
                ("ZSTD", zstandard.compress(plain)),
                ("deflate, gzip", gzip.compress(zlib.compress(plain))),
            ):
                answer = self.packed_answer(stream, coding, packed)
                self.assertEqual((bytes(answer.body), answer.header("content-encoding")), (plain, None))
                self.assertEqual(self.exchanges[-1].end, ("completed", 200))

    def packed_answer(self: Any, stream: bool, coding: str, packed: bytes) -> Any:
        """The answer that a client gets of a provider's packed one."""
        kind = "text/event-stream" if stream else "application/json"
        pieces = [packed[at : at + 40] for at in range(0, len(packed), 40)]
        self.provider.say(RawReply(headers={"Content-Type": kind, "Content-Encoding": coding}, chunks=pieces))
        return self.answer(self.api, stream=stream)

    def test_unknown_coding(self: Any) -> None:
        """An answer that can't be unpacked passes as it came, and the row says why it is empty."""
        for stream in (True, False):
            answer = self.packed_answer(stream, "compress", b"packed" * 30)
            self.assertEqual((bytes(answer.body), answer.header("content-encoding")), (b"packed" * 30, "compress"))
            self.assertTrue(answer.whole)
            self.assertEqual(self.exchanges[-1].end, ("failed", 200))
            self.assertEqual(
                self.exchanges[-1].ended.error, "the answer can't be read: its content coding is 'compress'"
            )

    def test_unknown_coding_cut(self: Any) -> None:
        """If such an answer breaks off, the client's breaks off too."""
        headers = {"Content-Type": "application/json", "Content-Encoding": "compress"}
        self.provider.say(RawReply(headers=headers, chunks=[b"packed"] * 9, ending=Ending.CUT))
        answer = self.answer(self.api)
        self.assertTrue(answer.status == 502 or not answer.whole, answer)
        self.assertEqual(self.exchange.end[0], "failed")

    def test_wrongly_packed(self: Any) -> None:
        """An answer that is not packed as it says, in its middle, is broken off."""
        packed = gzip.compress(bytes(range(256)) * 9)
        answer = self.packed_answer(False, "gzip", packed[:30] + bytes(99))
        self.assertEqual(answer.status, 502)

    def test_stream_of_nothing_cut(self: Any) -> None:
        """A stream that is cut before its first frame."""
        self.provider.say(RawReply(headers={"Content-Type": "text/event-stream"}, ending=Ending.CUT))
        client = self.ask(self.api, stream=True)
        self.network.wait(1)
        self.assertEqual((client.answer.whole, self.exchange.end), (False, ("failed", 200)))

    def test_first_byte_timeout(self: Any) -> None:
        """504 where the provider takes too long to begin, and it is let go."""
        for stream in (False, True):
            self.recorder.__init__()
            self.provider.say(RawReply(status=None, ending=Ending.STALL))
            self.refused(504, seconds=21, stream=stream)
            self.provider_is_free()

    def test_idle_timeout_in_a_stream(self: Any) -> None:
        """A stream of which nothing more comes is broken off, and the provider let go."""
        self.provider.say(Reply(text="a word and another " * 20, stop_after=9, ending=Ending.STALL))
        self.broken(seconds=12)
        self.provider_is_free()

    def test_idle_timeout_in_a_body(self: Any) -> None:
        """504 for a JSON body of which nothing more comes."""
        self.provider.say(Reply(text="x" * 5000, stop_after=2, ending=Ending.STALL))
        self.refused(504, seconds=12)
        self.provider_is_free()

    def test_slow_but_alive(self: Any) -> None:
        """A stream may take as long as it wants while it shows a sign of life."""
        self.provider._delay = 8.0
        self.provider.say(Reply(text="one two three"))
        client = self.ask(self.api, stream=True)
        self.network.wait(200)
        self.assertEqual((client.answer.whole, self.exchange.end), (True, ("completed", 200)))

    def test_empty_stream(self: Any) -> None:
        """A stream of nothing that ends in order is passed on as it is, and counts as failed."""
        self.provider.say(RawReply(headers={"Content-Type": "text/event-stream"}))
        answer = self.answer(self.api, stream=True)
        self.assertEqual((answer.status, answer.body, answer.whole), (200, b"", True))
        self.assertEqual(self.exchange.end, ("failed", 200))

    def test_stream_without_its_last_event(self: Any) -> None:
        """A stream that ends in order but too early is no complete one in the rows."""
        self.provider.say(Reply(text="a word and another " * 20, stop_after=9))
        self.answer(self.api, stream=True)
        self.assertEqual(self.exchange.end, ("failed", 200))
        self.assertEqual([row.metadata["complete"] for row in self.exchange.usages], [False])

    def test_error_statuses(self: Any) -> None:
        """The provider's own errors pass unchanged, with their headers, whether a stream was asked for or not."""
        body = b'{ "type":"error", "error" : {"type": "rate_limit_error", "message": "slow \\u0064own"} }'
        headers = {"Content-Type": "application/json", "Retry-After": "7", "X-Should-Retry": "true"}
        for status in (400, 401, 403, 404, 413, 429, 500, 503, 529):
            for stream in (False, True):
                self.recorder.__init__()
                self.provider.say(RawReply(status=status, headers=headers, chunks=[body[:9], body[9:]]))
                answer = self.answer(self.api, stream=stream)
                self.assertEqual((answer.status, bytes(answer.body), answer.whole), (status, body, True))
                self.assertEqual([answer.header(name) for name in headers], [*headers.values()])
                self.assertEqual(self.exchange.end, ("failed", status))
                self.assertIn("rate_limit_error", self.exchange.ended.error)
                self.assertNotIn("slow", self.exchange.ended.error)
                self.assertEqual((self.exchange.usages, len(self.exchange.prompts)), ([], 1))

    def test_error_page(self: Any) -> None:
        """So does the HTML of a proxy on the way."""
        page = b"<html>502 Bad Gateway</html>"
        self.provider.say(RawReply(status=502, headers={"Content-Type": "text/html"}, chunks=[page]))
        answer = self.answer(self.api, stream=True)
        self.assertEqual((answer.status, bytes(answer.body), answer.header("content-type")), (502, page, "text/html"))
        self.assertEqual(self.exchange.end, ("failed", 502))

    def test_error_frame(self: Any) -> None:
        """An error that the provider sends in mid-stream arrives as it is, and the rows name it."""
        reply = Reply(text="a word and another", stop_after=3, ending=Ending.ERROR)
        wanted = self.direct(self.api.body("ping", stream=True), self.api, reply)
        self.provider.say(reply)
        answer = self.answer(self.api, stream=True)
        self.assertEqual(bytes(answer.body), bytes(wanted.body))
        self.assertEqual(self.exchange.end, ("failed", 200))
        self.assertIn(self.exchange.ended.error, ("overloaded_error", "server_error", "server_is_overloaded"))
        self.assertEqual([row.metadata["complete"] for row in self.exchange.usages], [False])

    def test_redirect(self: Any) -> None:
        """A redirect is the client's to follow: its credential never goes elsewhere by the gateway."""
        headers = {"Location": "http://192.0.2.66/", "Content-Length": "0"}
        self.provider.say(RawReply(status=307, headers=headers))
        answer = self.answer(self.api)
        self.assertEqual((answer.status, answer.header("location")), (307, "http://192.0.2.66/"))
        self.assertEqual(self.network.attempts, 1)
        self.assertEqual((self.exchange.end, self.exchange.ended.error), (("failed", 307), "error (HTTP 307)"))

    def test_redirect_with_a_credential_of_the_gateway(self: Any) -> None:
        """Clients carry the gateway's credential along with a redirect, so they are not told where to."""
        self.start(authenticate=lambda request: Actor("alice"))
        headers = {"Location": "http://192.0.2.66/", "Content-Length": "0"}
        self.provider.say(RawReply(status=307, headers=headers))
        answer = self.answer(self.api)
        self.assertEqual((answer.status, answer.header("location")), (307, None))

    def test_the_next_one_is_served(self: Any) -> None:
        """After a fault the connection to the provider isn't used again, and the client's next request is served."""
        self.provider.say(Reply(text="x" * 5000, stop_after=2, ending=Ending.CUT))
        client = self.ask(self.api)
        self.network.wait(1)
        client.send("POST", self.api.path, self.api.body("again"))
        self.network.wait(1)
        self.assertEqual([answer.status for answer in client.answers], [502, 200])


class OwnAgentFaultContract(FaultContract):
    """What is the gateway's own agent's doing."""

    def test_no_connection(self: Any) -> None:
        """504 where nobody answers to an attempt to connect."""
        self.network.unreachable = True
        self.refused(504, seconds=11)

    def test_garbage(self: Any) -> None:
        """502 for what isn't HTTP."""
        for says in (b"SSH-2.0-OpenSSH_9\r\n", b"\0" * 100, b"HTTP/1.1 abc\r\n\r\n"):
            self.recorder.__init__()
            self.network.serve(PROVIDER_PORT, CannedServer(says))
            self.refused(502)
            self.start()

    def test_endless_head(self: Any) -> None:
        """502 for a head without an end."""
        self.network.serve(PROVIDER_PORT, CannedServer(b"HTTP/1.1 200 OK\r\n" + b"X-Very: long\r\n" * 100_000))
        self.refused(502)

    def test_kept_connection_closed(self: Any) -> None:
        """A kept connection that is closed just as it is used again is replaced."""
        self.answer(self.api)
        self.provider.say(RawReply(status=None, ending=Ending.CUT), Reply(text="after all"))
        answer = self.answer(self.api)
        self.assertEqual((answer.status, b"after all" in answer.body), (200, True))
        self.assertEqual((self.network.attempts, len(self.provider.requests)), (2, 3))

    def test_shutdown(self: Any) -> None:
        """A gateway that is stopped breaks off what is under way, and records that it did."""
        self.provider.say(LONG)
        client = self.ask(self.api, stream=True)
        self.network.wait(1)
        stopped: Deferred[None] = self.bridge.stopService()
        self.network.wait(6)
        self.successResultOf(stopped)
        self.assertEqual((client.answer.whole, client.closed), (False, True))
        self.assertEqual(self.exchange.end, ("failed", 200))
        self.assertEqual([row.metadata["complete"] for row in self.exchange.usages], [False])


class MessagesFaultTests(OwnAgentFaultContract, ChainTestCase):
    api = MESSAGES


class ChatFaultTests(OwnAgentFaultContract, ChainTestCase):
    api = CHAT


class ResponsesFaultTests(OwnAgentFaultContract, ChainTestCase):
    api = RESPONSES
