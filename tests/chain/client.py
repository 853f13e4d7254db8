"""A client that hides nothing: it sees every byte, and whether an answer had its proper end."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import orjson
from attrs import Factory, define
from httptools import HttpResponseParser
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers


@define(eq=False)
class Answer:
    """An answer, as far as it has come."""

    status: int = 0
    headers: Headers = Factory(Headers)
    body: bytearray = Factory(bytearray)
    whole: bool = False
    """HTTP's own end of it was there."""

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    def header(self, name: str) -> str | None:
        values = self.headers.getRawHeaders(name)
        return values[0] if values else None


class Client(Protocol):
    """One connection of a client."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.informed: list[int] = []
        """Statuses of informational answers, such as ``100 Continue``."""
        self.closed = False
        self._parser = HttpResponseParser(self)
        self._waiting: list[tuple[Callable[[], Any], Deferred[None]]] = []
        self._next = Answer()

    @property
    def answer(self) -> Answer:
        """The last answer of which at least the head is there."""
        return self.answers[-1]

    def send(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """One request; its Content-Length is that of the body, if it isn't given."""
        fields = {"Host": "gateway.test"} | dict(headers)
        if body and not {"Content-Length", "Transfer-Encoding"} & fields.keys():
            fields["Content-Length"] = str(len(body))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self.raw("\r\n".join(lines).encode("latin-1") + body)

    def raw(self, data: bytes) -> None:
        """Any bytes."""
        self.transport.write(data)  # type: ignore[union-attr]

    def when(self, condition: Callable[[], Any]) -> "Deferred[None]":
        """Fires as soon as that is so, looked at whenever something comes."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append((condition, waiting))
        self._look()
        return waiting

    def done(self, answers: int = 1) -> "Deferred[None]":
        """Fires with so many whole answers, or when the connection is closed."""
        return self.when(lambda: self.closed or sum(answer.whole for answer in self.answers) >= answers)

    def leave(self) -> None:
        """Gone without a word."""
        self.transport.abortConnection()  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self._parser.feed_data(data)
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True
        self._look()

    def _look(self) -> None:
        for entry in [entry for entry in self._waiting if entry[0]()]:
            self._waiting.remove(entry)
            entry[1].callback(None)

    # Called by the parser.

    def on_message_begin(self) -> None:
        self._next = Answer()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._next.headers.addRawHeader(name, value)

    def on_headers_complete(self) -> None:
        self._next.status = self._parser.get_status_code()
        if self._next.status >= 200:
            self.answers.append(self._next)

    def on_body(self, piece: bytes) -> None:
        self._next.body += piece

    def on_message_complete(self) -> None:
        self._next.whole = True
        if self._next.status < 200:
            self.informed.append(self._next.status)
