"""Amazon's event streams as Bedrock sends them, made for tests."""

import base64
import json
import struct
from zlib import crc32


def message(headers, payload=b""):
    """One message with these headers, all of them text."""
    encoded = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    return framed(encoded, payload)


def framed(headers, payload):
    """One message of encoded headers and a payload, with right lengths and checksums."""
    prelude = struct.pack(">II", len(headers) + len(payload) + 16, len(headers))
    begun = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return begun + struct.pack(">I", crc32(begun))


def chunk(event, **others):
    """A chunk with an event, which is bytes of JSON or an object."""
    data = event if isinstance(event, bytes) else json.dumps(event, separators=(",", ":")).encode()
    payload = json.dumps({"bytes": base64.b64encode(data).decode(), **others}).encode()
    return message({":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}, payload)


def exception(name, text):
    """An exception in the middle of a stream."""
    return message(
        {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"},
        json.dumps({"message": text}).encode(),
    )


def chunks_of(sse):
    """The event stream that Bedrock sends in the place of a stream of server-sent events."""
    lines = sse.split(b"\n")
    return b"".join(chunk(line.removeprefix(b"data: "), p="abcdefgh") for line in lines if line.startswith(b"data: "))
