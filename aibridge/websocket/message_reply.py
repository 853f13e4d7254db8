"""The client's side of one exchange on a WebSocket: its answer goes out as messages."""

from collections.abc import Callable, Mapping
from typing import Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.web.http_headers import Headers
from zope.interface import implementer

from ..errors import GatewayError
from ..interfaces import IReply
from ..wire import json_splice, jsontext
from ..wire.responses.reader import error_message


class ReplyOwner(Protocol):
    """The socket that the replies go out on."""

    client_is_slow: bool
    """True while the client takes nothing."""

    def send_to_client(self, message: bytes) -> None:
        """Send a message to the client."""

    def abort(self) -> None:
        """Close both ends at once."""


@implementer(IReply)
class MessageReply:
    """The answer to one message of a client, in messages of which each names its lane."""

    def __init__(self, owner: ReplyOwner, stream_id: str | None) -> None:
        self.gone = False
        self.code: int | None = None
        self.begun = False
        self.on_left: Callable[[], object] | None = None
        self._owner = owner
        self._stream_id = stream_id

    def write(self, message: bytes) -> None:
        """Send a message, unless the client has left."""
        self.begun = True
        if message and not self.gone:
            self._owner.send_to_client(message)

    def set_head(self, code: int, reason: bytes, headers: Headers) -> None:
        """Note the status, for the records; a message has none."""
        self.code = code

    def set_header(self, name: bytes, value: bytes) -> None:
        """Do nothing: messages have no headers."""

    def set_producer(self, producer: IPushProducer) -> None:
        """Pause a producer whose client is slow; from here on the socket pauses and resumes the exchange's relay."""
        if self._owner.client_is_slow:
            producer.pauseProducing()

    def finish(self) -> None:
        """The answer is complete."""
        self.on_left = None

    def refuse(self, error: GatewayError, body: Mapping[str, object] | None = None) -> None:
        """Send an error. The socket stays open."""
        self.code = error.status
        self._send_error(error_message(error, 0))

    def send_json(self, body: Mapping[str, object]) -> None:
        """Send a message of the gateway's own."""
        self.write(jsontext.dump(body))

    def abort(self, last_words: bytes = b"") -> None:
        """End an answer that has begun, by an error. A client that takes nothing of it is disconnected."""
        if last_words:
            self._send_error(last_words)
        elif not self.gone:
            self._owner.abort()

    def leave(self) -> None:
        """The client has left."""
        self.gone = True
        left, self.on_left = self.on_left, None
        if left is not None:
            left()

    def _send_error(self, message: bytes) -> None:
        if self._stream_id is not None:
            message = json_splice.append_member(message, "stream_id", jsontext.dump(self._stream_id))
        self.write(message)
        self.finish()
