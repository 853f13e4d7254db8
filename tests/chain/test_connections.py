"""Clients' connections: slow ones, idle ones, and whatever bytes come over them."""

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aibridge.testing import Ending, RawReply

from .apis import MESSAGES
from .client import Client
from .gateway import GATEWAY_PORT, ChainTestCase

BODY = MESSAGES.body()
HEAD = f"POST {MESSAGES.path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
CHUNKED_HEAD = f"POST {MESSAGES.path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
CHUNKED = CHUNKED_HEAD + b"%x\r\n%b\r\n0\r\nX-Trailer: a\r\n\r\n" % (len(BODY), BODY)
ONE_REQUEST = (HEAD + BODY, CHUNKED, b"GET /openai/v1/models HTTP/1.1\r\nHost: a\r\n\r\n")

_evil = st.sampled_from(
    [
        b"\r\n",
        b"\r",
        b"\n",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b"\x00",
        b":",
        b";",
        b",",
        b"0\r\n",
        b"5\r\n",
        b"-1\r\n",
        b"f" * 20,
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: x\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: close\r\n",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST",
        b"Host: b\r\n",
        b"x" * 17_000,
        b"",
    ]
)


class SlownessTests(ChainTestCase):
    """Clients that take their time."""

    def drip(self, client: Client, data: bytes, every: float) -> int:
        """A byte now and then, until the gateway has enough of it; how many it took."""
        for number in range(len(data)):
            if client.answers or client.closed:
                return number
            client.raw(data[number : number + 1])
            self.network.wait(every)
        return len(data)

    def test_head(self) -> None:
        """A head has its time as a whole, whatever keeps coming: then it is 408, and the end."""
        client = self.connect()
        self.assertLess(self.drip(client, HEAD, every=1), 22)
        self.network.wait(6)
        self.assertEqual(([answer.status for answer in client.answers], client.closed), ([408], True))
        self.assertEqual(self.network.attempts, 0)

    def test_later_head(self) -> None:
        """So has the head of a later request on the same connection."""
        client = self.connect()
        client.raw(HEAD + BODY)
        self.network.wait(70)
        client.raw(HEAD[:9])
        self.network.wait(15)
        self.assertFalse(client.closed)
        client.raw(HEAD[9:12])
        self.network.wait(15)
        self.assertEqual(([answer.status for answer in client.answers], client.closed), ([200, 408], True))

    def test_body(self) -> None:
        """A body has its time from piece to piece."""
        client = self.connect()
        client.raw(HEAD)
        self.assertEqual(self.drip(client, BODY[:5], every=50), 5)
        client.raw(BODY[5:])
        self.network.wait(1)
        self.assertEqual(client.answer.status, 200)
        client.raw(HEAD + BODY[:5])
        self.network.wait(66)
        self.assertEqual(([answer.status for answer in client.answers], client.closed), ([200, 408], True))

    def test_end_of_chunks(self) -> None:
        """So have the sizes and trailers between and behind its pieces."""
        for length in (len(CHUNKED_HEAD) + 1, len(CHUNKED) - 4):
            client = self.connect()
            client.raw(CHUNKED[:length])
            self.network.wait(66)
            self.assertEqual(([answer.status for answer in client.answers], client.closed), ([408], True))

    def test_idle(self) -> None:
        """A connection that is not used any more is closed without a word; the time counts from its last answer."""
        client = self.connect()
        client.raw(HEAD + BODY)
        self.network.wait(70)
        client.raw(HEAD + BODY)
        self.network.wait(74)
        self.assertFalse(client.closed)
        self.network.wait(3)
        self.assertEqual((len(client.answers), client.closed), (2, True))

    def test_body_for_ever(self) -> None:
        """A whole request has its time too, however steadily its pieces come, with a length and in chunks."""
        for start, piece in ((HEAD, b"x"), (CHUNKED_HEAD, b"1\r\nx\r\n")):
            client = self.connect()
            client.raw(start[:9])
            self.network.wait(15)
            client.raw(start[9:])
            for _ in range(7):
                client.raw(piece)
                self.network.wait(40)
            self.assertEqual((client.answers, client.closed), ([], False))
            client.raw(piece)
            self.network.wait(11)
            self.assertEqual(([answer.status for answer in client.answers], client.closed), ([408], True))
            self.assertEqual(client.answer.json["error"]["type"], "invalid_request_error")
        self.assertEqual(len(self.provider.requests), 0)

    def test_each_request_has_its_time(self) -> None:
        """The time for a whole request begins with its first byte, and ends with its last."""
        client = self.connect()
        for number in range(1, 11):
            client.raw(HEAD + BODY[:5])
            self.network.wait(55)
            client.raw(BODY[5:])
            self.network.wait(1)
            self.assertEqual([answer.status for answer in client.answers], [200] * number)

    def test_refused_and_still_sending(self) -> None:
        """Who is refused has a moment to read why, and is cut off in the midst of what it sends."""
        for start in (b"nonsense\r\n", b"GET /" + b"a" * 20_000, b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000):
            client = self.connect()
            client.raw(start)
            for _ in range(7):
                client.raw(b"x" * 10_000)
                self.network.wait(1)
            self.assertIn([answer.status for answer in client.answers], ([400], [431]))
            self.assertTrue(client.closed)

    def test_refused_and_deaf(self) -> None:
        """Who is refused and does not read why is cut off just as soon, by force."""
        client = self.connect()
        client.transport.pauseProducing()
        client.raw(b"GET /" + b"a" * 20_000)
        for _ in range(12):
            client.raw(b"x" * 10_000)
            self.network.wait(1)
        self.assertEqual((client.answers, client.closed), ([], True))

    def test_last_answer_not_read(self) -> None:
        """A client that does not read the last answer on its connection is cut off after the time for that."""
        client = self.connect()
        client.transport.pauseProducing()
        client.raw(HEAD.replace(b"Host: a", b"Host: a\r\nConnection: close") + BODY)
        self.network.wait(29)
        self.assertFalse(client.closed)
        self.network.wait(3)
        self.assertEqual((len(self.provider.requests), client.closed), (1, True))


class ShortRequestTests(ChainTestCase):
    """A gateway that gives a whole request less time than a head."""

    limits: dict[str, Any] = ChainTestCase.limits | {"request_timeout": 5.0}

    def test_head(self) -> None:
        """The shorter time counts."""
        client = self.connect()
        client.raw(HEAD[:20])
        self.network.wait(4.9)
        self.assertEqual(client.answers, [])
        self.network.wait(1)
        self.assertEqual(client.answer.status, 408)

    def test_answer(self) -> None:
        """The time that the provider takes to answer does not count."""
        self.provider.say(RawReply(status=None, ending=Ending.STALL))
        client = self.connect()
        client.raw(HEAD + BODY[:3])
        self.network.wait(1)
        client.raw(BODY[3:])
        self.network.wait(15)
        self.assertEqual((client.answers, client.closed), ([], False))
        self.network.wait(10)
        self.assertEqual([answer.status for answer in client.answers], [504])


class RefusedRequestTests(ChainTestCase):
    """Nothing of a refused request is taken for another one."""

    limits: dict[str, Any] = ChainTestCase.limits | {"max_body_bytes": 1 << 14}

    def test_rest(self) -> None:
        """What stands behind a refused head or body is not served, in the same piece or in later ones."""
        another = ONE_REQUEST[2]
        for start, status in (
            (HEAD.replace(b"Length: ", b"Length: 999999"), 413),
            (CHUNKED_HEAD + b"4001\r\n", 413),
            (CHUNKED_HEAD + b"5\r\nhello world", 400),
            (HEAD.replace(b"Host: a", b"Host: a\r\nExpect: b"), 417),
            (b"GET / HTTP/1.1\r\n" + b"X:\r\n" * 300 + b"\r\n", 431),
            (b"nonsense\r\n\r\n", 400),
        ):
            client = self.connect()
            client.raw(start + another)
            for _ in range(3):
                client.raw(another)
                self.network.wait(1)
            self.network.wait(5)
            self.assertEqual(([answer.status for answer in client.answers], client.closed), ([status], True))
        client = self.connect()
        client.raw(CHUNKED_HEAD + b"5\r\n")
        self.network.wait(61)
        client.raw(b"hello\r\n0\r\n\r\n" + another)
        self.network.wait(6)
        self.assertEqual(([answer.status for answer in client.answers], client.closed), ([408], True))
        self.assertEqual(len(self.provider.requests), 0)


class Deaf(Client):
    """Doesn't understand what it is answered, only counts it."""

    heard = b""

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    @property
    def statuses(self) -> int:
        return len(re.findall(rb"HTTP/1\.[01] [0-9]{3} ", self.heard))  # not what an error says of HTTP/1.1


class AnyBytesTests(ChainTestCase):
    """Whatever comes is answered or closed, nothing fails, and no request becomes two."""

    limits: dict[str, Any] = ChainTestCase.limits | {"max_body_bytes": 1 << 14}

    def say(self, pieces: list[bytes]) -> Deaf:
        """A client that sends these, and waits longer than it may."""
        client = Deaf()
        self.network.connect(GATEWAY_PORT, client)
        for piece in pieces:
            client.raw(piece)
            self.network.settle()
        self.network.wait(90)
        self.network.wait(90)
        self.assertTrue(client.closed)
        self.assertEqual(self.bridge.in_flight, 0)
        return client

    @settings(max_examples=80, deadline=None)
    @given(st.lists(st.binary(max_size=40) | _evil, max_size=8))
    def test_any(self, pieces: list[bytes]) -> None:
        """Any bytes."""
        self.say(pieces)
        self.say([b"".join(pieces)])

    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from(ONE_REQUEST), st.lists(st.tuples(st.floats(0, 0.999), _evil), max_size=3), st.booleans())
    def test_mutated(self, whole: bytes, changes: list[tuple[float, bytes]], at_once: bool) -> None:
        """One request with a few things put into it reaches the provider at most once, wherever it is cut."""
        pieces = [whole]
        for place, evil in changes:
            position = int(place * len(pieces[-1]))
            pieces[-1:] = [pieces[-1][:position], evil, pieces[-1][position:]]
        before = len(self.provider.requests)
        client = self.say([b"".join(pieces)] if at_once else pieces)
        self.assertLessEqual(len(self.provider.requests) - before, 1)
        if not changes:
            self.assertEqual((client.statuses, len(self.provider.requests) - before), (1, 1))
        self.assertLessEqual(client.statuses, 5)  # the one, three put into it, and what they leave over
