"""The answers of Bedrock's InvokeModelWithResponseStream as the server-sent events of Anthropic's own API.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ResponseStream.html
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from .. import jsontext
from ..eventstream import EventStreamError, Message, MessageSplitter, encode_message
from ..jsontext import nonempty_str
from ..sse import FrameSplitter, frame_data, make_frame

_TYPE = re.compile(rb'\s*\{\s*"type"\s*:\s*"([a-z_]+)"')
"""The beginning that all of Anthropic's events have."""
_ERROR_TYPES = {
    "throttlingException": "rate_limit_error",
    "modelTimeoutException": "timeout_error",
    "serviceUnavailableException": "overloaded_error",
}
_EXCEPTIONS = {kind: name for name, kind in _ERROR_TYPES.items()}
_LINE_END = re.compile(rb"\r\n|\r|\n")


class BedrockStream:
    """Translates one answer. Each chunk's JSON becomes an event's data, byte for byte."""

    def __init__(self) -> None:
        self.ended = False
        """True once an error has ended the answer: what follows it is not read."""
        self._splitter = MessageSplitter()

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the answer. Return the events that are whole now."""
        events: list[bytes] = []
        try:
            self._splitter.add(data)
            while not self.ended and (message := self._splitter.next()) is not None:
                events.append(self._event(message))
        except EventStreamError as error:
            events.append(self._error("api_error", f"Bedrock's answer can't be read: {error}."))
        return b"".join(events)

    def close(self) -> bytes:
        """Return the last event, now that the answer has come to its end: an error if it was cut within a message."""
        if self.ended or self._splitter.is_between_messages:
            return b""
        return self._error("api_error", "Bedrock's answer was cut off within a message.")

    def _event(self, message: Message) -> bytes:
        """Return a message as an event; empty for one that says nothing."""
        headers = message.headers
        kind = headers.get(":message-type")
        if kind == "event" and headers.get(":event-type") == "chunk":
            return _chunk_event(message.payload)
        if kind == "event" and headers.get(":event-type") == "initial-response":
            return b""
        if kind == "exception":
            name = headers.get(":exception-type", "")
            return self._error(_error_type(name), _exception_message(message.payload) or name or "an unnamed exception")
        if kind == "error":  # the event stream's own, without a payload
            name, text = headers.get(":error-code", ""), headers.get(":error-message", "")
            return self._error(_error_type(name), text or name or "an unnamed error")
        raise EventStreamError("a message is of an unknown kind")

    def _error(self, kind: str, text: str) -> bytes:
        self.ended = True
        body = {"type": "error", "error": {"type": kind, "message": text}}
        return make_frame(jsontext.dump(body), b"error")


class BedrockEncoder:
    """Puts one stream of Anthropic's events into Bedrock's framing, for Amazon's own clients."""

    def __init__(self) -> None:
        self._splitter = FrameSplitter()

    def encode(self, data: bytes) -> bytes:
        """Take bytes of the stream. Return the messages of the events that are whole now."""
        return b"".join(map(self._message, self._splitter.feed(data)))

    def _message(self, frame: bytes) -> bytes:
        """Return an event as a chunk, and an error as an exception; nothing for a comment."""
        data = frame_data(frame)
        if not data:
            return b""
        headers = {":content-type": "application/json"}
        error = (jsontext.load_object(data) or {}).get("error") if frame.startswith(b"event: error") else None
        if isinstance(error, dict):
            name = _EXCEPTIONS.get(str(error.get("type")), "internalServerException")
            headers |= {":message-type": "exception", ":exception-type": name}
            return encode_message(headers, jsontext.dump({"message": error.get("message")}))
        payload = b'{"bytes":"%b"}' % b2a_base64(data, newline=False)
        return encode_message({":event-type": "chunk", **headers, ":message-type": "event"}, payload)


def _chunk_event(payload: bytes) -> bytes:
    """Return the event that a chunk holds: ``{"bytes": "<base64>"}``, and padding that is not used."""
    chunk = jsontext.load_object(payload)
    encoded = chunk.get("bytes") if chunk is not None else None
    try:
        data = a2b_base64(encoded) if isinstance(encoded, str) else None
    except (Base64Error, ValueError):
        data = None
    if data is None:
        raise EventStreamError("a chunk holds no bytes")
    begins = _TYPE.match(data)
    name = begins[1] if begins is not None else _type_of(data)
    if b"\n" in data or b"\r" in data:  # an event's data is split into lines
        lines = b"".join(b"data: %b\n" % line for line in _LINE_END.split(data))
        return b"event: %b\n%b\n" % (name, lines)
    return b"event: %b\ndata: %b\n\n" % (name, data)


def _type_of(data: bytes) -> bytes:
    """Return the type of an event whose JSON does not begin with it. Raise EventStreamError if it has none."""
    document = jsontext.load_object(data)
    kind = nonempty_str(document.get("type")) if document is not None else None
    if kind is None or not kind.isprintable():
        raise EventStreamError("a chunk holds no event")
    return kind.encode()


def _error_type(name: str) -> str:
    """Return Anthropic's type for an exception, whose name may begin with a capital letter."""
    return _ERROR_TYPES.get(name[:1].lower() + name[1:], "api_error")


def _exception_message(payload: bytes) -> str | None:
    document = jsontext.load_object(payload) or {}
    return nonempty_str(document.get("message")) or nonempty_str(document.get("Message"))
