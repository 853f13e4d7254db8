"""The targets. Each takes any bytes, and fails only where a promise is broken."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.parse import unquote_to_bytes

from aibridge.client.paths import read_path
from aibridge.config.loader import configure
from aibridge.config.sources import ConfigSources, read_toml
from aibridge.errors import ConfigError, RouteUnknown
from aibridge.wire import json_splice
from aibridge.wire.messages.bedrock import BedrockStream
from aibridge.wire.sse import FrameSplitter

from ..chain.client import Client
from ..chain.gateway import GATEWAY_PORT, ChainTestCase
from ..wire.streams import SAMPLES, cut, replay

_PIECES = (
    *(
        b"/openai/v1/models/",
        b"..",
        b"%2e",
        b"%2F",
        b"//",
        b"%252e",
        b"%25",
        b"%5c",
        b"\\",
        b";",
        b"%3B",
        b"%00",
        b"%c0%ae",
    ),
    *(
        b"%",
        b"2e",
        b"2f",
        b"%C3%A9",
        b"\xc3\xa9",
        b"\xff",
        b"%ff",
        b"?",
        b"%3f",
        b"#",
        b"%23",
        b"%20",
        b"/./",
        b"%u002e",
    ),
)
_NEW = b'"\\u00e9"'


def heads(data: bytes) -> None:
    """Bytes over a client's connection: answered or closed, and every request in its one place.

    The first byte says into how many pieces the rest is cut.
    """
    gateway = _gateway()
    client = _Deaf()
    gateway.network.connect(GATEWAY_PORT, client)
    size = data[0] if data and data[0] else 1 << 16
    for start in range(1, len(data), size):
        client.raw(data[start : start + size])
        gateway.network.settle()
    client.leave()
    gateway.network.wait(1)
    assert client.closed and not gateway.bridge.in_flight
    # A head has a host at least: more requests than that can't have come.
    assert len(gateway.provider.requests) <= data.lower().count(b"host:"), data
    gateway.provider.requests.clear()
    gateway.recorder.__init__()
    gateway.network.connections.clear()


def sse(data: bytes) -> None:
    """Streams: taps pass every byte, and cutting makes no difference. The first two bytes say where it is cut."""
    places, stream = {*data[:2]}, data[2:]
    splitter, whole = FrameSplitter(), FrameSplitter()
    found = [frame for piece in cut(stream, places) for frame in splitter.feed(piece)]
    assert [*found, splitter.take_rest()] == [*whole.feed(stream), whole.take_rest()], stream
    for sample in SAMPLES:
        taps = sample.tap(), sample.tap()
        for tap, pieces in zip(taps, ([stream], cut(stream, places)), strict=True):
            assert b"".join(replay(tap, pieces)) == stream, stream
            sample.format.count_tokens(tap.answer.usage)
        assert taps[0].answer == taps[1].answer, stream


def splice(data: bytes) -> None:
    """JSON texts: one member changes, and everything else is what it was."""
    try:
        before = json.loads(data.decode().removeprefix("\ufeff"))
        assert isinstance(before, dict)
    except (ValueError, RecursionError, AssertionError):
        before = None
    try:
        after = json_splice.set_member(data, "a", _NEW), json_splice.remove_member(data, "a")
    except ValueError:
        assert before is None, data
        return
    if before is not None:
        changed, removed = (repr(json.loads(text.decode().removeprefix("\ufeff"))) for text in after)
        assert changed == repr(before | {"a": "é"}), data
        assert removed == repr({name: value for name, value in before.items() if name != "a"}), data
        assert json_splice.member_text(after[0], "a") == _NEW


def eventstream(data: bytes) -> None:
    """Amazon's event streams: events and at most one error, the same in however many pieces they come."""
    whole, pieces = BedrockStream(), BedrockStream()
    expected = whole.feed(data) + whole.close()
    found = b"".join(pieces.feed(bytes([byte])) for byte in data) + pieces.close()
    assert found == expected, data
    assert expected.count(b"event: error\n") <= 1 or b"event: error" in data, data


def config(data: bytes) -> None:
    """Configuration files: one that can be used, or one line that says what is wrong."""
    with NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        try:
            configure(ConfigSources(read_toml(file.name), "fuzz.toml", {"ANTHROPIC_API_KEY": "k"}))
        except ConfigError as error:
            assert error.why


def paths(data: bytes) -> None:
    """Request targets: of what is accepted no reader gets another path, decode as often as he may.

    Bytes from 128 on stand for pieces that make trouble.
    """
    written = b"".join(_PIECES[byte % len(_PIECES)] if byte & 128 else bytes([byte]) for byte in data)
    for target in (written, b"/openai/v1/models/" + written):
        try:
            accepted = read_path(target, 0)
        except RouteUnknown:
            continue
        assert "/" not in accepted.provider and unquote_to_bytes(accepted.raw).decode() == accepted.decoded, target
        _assert_unambiguous(accepted.raw)


def _assert_unambiguous(reading: bytes) -> None:
    for _ in range(3):
        segments = reading.split(b"/")
        assert not {b".", b"..", b""} & {*segments[1:-1]} and segments[-1] not in (b".", b".."), reading
        assert not {*b";\\\x00\r\n"} & {*reading}, reading
        reading = unquote_to_bytes(reading)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (heads, sse, splice, eventstream, config, paths)
}


class _Deaf(Client):
    """Doesn't try to understand what it is answered."""

    def dataReceived(self, data: bytes) -> None:
        return


class _Gateway(ChainTestCase):
    """A gateway in memory, for as long as the process lives."""

    limits: dict[str, Any] = ChainTestCase.limits | {"max_body_bytes": 1 << 12}

    def runTest(self) -> None:
        """There is no test."""


_made: list[_Gateway] = []


def _gateway() -> _Gateway:
    if not _made:
        _made.append(_Gateway())
        _made[0].setUp()
    return _made[0]
