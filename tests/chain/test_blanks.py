"""Unstreamed answers before which a provider sends blank lines, so that nobody takes the connection for dead."""

from typing import Any

from twisted.internet.protocol import Factory, Protocol

from aibridge.errors import RecordingError
from aibridge.testing import Reply

from .apis import CHAT, MESSAGES, RESPONSES, Api
from .gateway import PROVIDER_PORT, ChainTestCase
from .test_tools import CALLS, HIDDEN_ID, WORDS
from .toolbox import ScriptedToolbox

PERIOD = 0.4
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Mine: 1\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
FAILED = b"HTTP/1.1 500 No\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def behind_blanks(body: bytes, blanks: int = 5) -> list[bytes]:
    """What a provider sends one after another."""
    return [CHUNKED, *[chunk(b"\n")] * blanks, chunk(body[:40]), chunk(body[40:]), b"0\r\n\r\n"]


class PacedProvider(Factory):
    """Responds to each request with the next row of pieces, one each `PERIOD`; None as a piece cuts the connection.

    The last row stays.
    """

    def __init__(self, clock: Any, *responses: list[Any]) -> None:
        self.clock = clock
        self.responses = list(responses)

    def buildProtocol(self, addr: Any) -> Protocol:
        made = PacedConnection()
        made.factory = self
        return made


class PacedConnection(Protocol):
    factory: Any
    transport: Any

    def dataReceived(self, data: bytes) -> None:
        rows = self.factory.responses
        self.send(rows.pop(0) if rows[1:] else rows[0])

    def send(self, pieces: list[Any]) -> None:
        if pieces[0] is None:
            self.transport.abortConnection()
            return
        self.transport.write(pieces[0])
        if pieces[1:]:
            self.factory.clock.callLater(PERIOD, self.send, pieces[1:])


class BlanksContract:
    """The behaviour in every API."""

    api: Api

    def setUp(self: Any) -> None:
        super().setUp()
        self.toolbox = ScriptedToolbox("now", "tides")
        self.start(toolbox=self.toolbox)

    def body(self: Any, reply: Reply) -> bytes:
        return bytes(self.direct(self.api.body("ping"), self.api, reply).body)

    def request(self: Any, *responses: list[Any], seconds: float = 20, stream: bool = False) -> Any:
        """A client's connection so many seconds after its request; the provider responds with these pieces."""
        self.network.serve(PROVIDER_PORT, PacedProvider(self.network, *responses))
        client = self.ask(self.api, stream=stream)
        self.network.wait(seconds)
        return client

    def cut_off(self: Any, client: Any, body: bytes) -> None:
        """The client got that much, and no proper end."""
        answer = client.answer
        self.assertEqual((answer.status, bytes(answer.body), answer.whole, client.closed), (200, body, False, True))
        self.assertEqual(self.exchanges[-1].end, ("failed", 200))

    def test_at_once(self: Any) -> None:
        """Head and blanks reach the client as they come; the answer follows once it is recorded."""
        plain = self.body(WORDS)
        client = self.request(behind_blanks(plain), seconds=3.5 * PERIOD)
        self.assertEqual((client.answer.status, client.answer.header("x-mine")), (200, "1"))
        self.assertEqual((bytes(client.answer.body), client.answer.whole), (b"\n\n\n", False))
        self.network.wait(10)
        self.assertEqual((bytes(client.answer.body), client.answer.whole), (b"\n" * 5 + plain, True))
        self.assertEqual(self.exchange.end, ("completed", 200))
        self.assertEqual([row.metadata["complete"] for row in self.exchange.usages], [True])

    def test_unrecorded(self: Any) -> None:
        """The answer waits for its rows; if they can't be written, its end never comes."""
        client = self.request(behind_blanks(self.body(WORDS)), seconds=3 * PERIOD)
        self.recorder.fail_with(RecordingError("the disk is full"))
        self.network.wait(10)
        self.assertEqual((client.answer.status, client.answer.whole, client.closed), (200, False, True))
        self.assertEqual({*client.answer.body}, {10})
        self.flushLoggedErrors(RecordingError)

    def test_no_blanks(self: Any) -> None:
        """A head without blanks behind it waits for the body: until then a failure is an error with a status."""
        for pieces in ([CHUNKED, None], [CHUNKED, chunk(b'{"id": '), None]):
            self.assertEqual(self.request(pieces).answer.status, 502)

    def test_cut(self: Any) -> None:
        """If nothing, or half an answer, follows the blanks, the client's answer has no proper end either."""
        for tail in ([None], [chunk(b'{"id": '), None], [b"nonsense"]):
            self.cut_off(self.request([CHUNKED, chunk(b"\n"), *tail]), b"\n")

    def test_silence(self: Any) -> None:
        """Blanks are signs of life; silence behind them ends the answer without its proper end."""
        client = self.request([CHUNKED, *[chunk(b" ")] * 60], seconds=24)
        self.assertEqual((client.answer.whole, client.closed), (False, False))
        self.network.wait(12)
        self.cut_off(client, b" " * 60)

    def test_known_length(self: Any) -> None:
        """Where the length is known, blanks wait: the answer might yet be rewritten to another."""
        plain = self.body(WORDS)
        head = HEAD + b"Content-Length: %d\r\n\r\n" % (len(plain) + 1)
        client = self.request([head, b"\n", plain], seconds=1.5 * PERIOD)
        self.assertEqual(client.answers, [])
        self.network.wait(5)
        self.assertEqual((bytes(client.answer.body), client.answer.whole), (b"\n" + plain, True))

    def test_tools(self: Any) -> None:
        """Blanks pass in every round, and the rounds are one answer behind them."""
        client = self.request(behind_blanks(self.body(CALLS), 2), behind_blanks(self.body(WORDS), 3))
        answer = client.answer
        self.assertEqual((answer.status, answer.whole, answer.header("content-length")), (200, True, None))
        self.assertTrue(bytes(answer.body).startswith(b"\n" * 5 + b"{"))
        self.assertIn(b"High", bytes(answer.body))
        self.assertNotIn(HIDDEN_ID.encode(), bytes(answer.body))
        self.assertEqual(answer.json.keys(), self.api_keys())
        self.assertEqual(self.exchange.end, ("completed", 200))

    def api_keys(self: Any) -> Any:
        """The members of an answer without blanks."""
        return self.direct(self.api.body("ping"), self.api, WORDS).json.keys()

    def test_error_in_a_later_round(self: Any) -> None:
        """An error behind blanks can't be told any more: the answer is cut off, and no event of a stream is in it."""
        for later in ([FAILED], [b"nonsense"], [None]):
            self.cut_off(self.request(behind_blanks(self.body(CALLS), 2), later), b"\n\n")


class MessagesBlanks(BlanksContract, ChainTestCase):
    api = MESSAGES


class ChatBlanks(BlanksContract, ChainTestCase):
    api = CHAT


class ResponsesBlanks(BlanksContract, ChainTestCase):
    api = RESPONSES
