"""A client that sends what it likes, and sees every byte of what comes back."""

from twisted.internet.defer import Deferred

from ..chain.client import Client

HOST = b"Host: gateway.test"
SMUGGLED = b"GET /openai/v1/models HTTP/1.1\r\nHost: gateway.test\r\n\r\n"
"""A request that must never be served where it stands within another one's body."""


def head(*lines: bytes, first: bytes = b"POST /anthropic/v1/messages HTTP/1.1") -> bytes:
    """A head of these lines and a host."""
    return b"\r\n".join([first, HOST, *lines, b"", b""])


def chunked(*pieces: bytes) -> bytes:
    """A request whose body is sent as these bytes, chunks or not."""
    return head(b"Transfer-Encoding: chunked") + b"".join(pieces)


def chunk(data: bytes) -> bytes:
    """As it should be."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Wire(Client):
    """One connection."""

    def half_close(self) -> None:
        """Nothing more will be sent; what comes is still read."""
        self.transport.loseWriteConnection()  # type: ignore[union-attr]

    def settled(self, answers: int) -> "Deferred[None]":
        """Fires with so many whole answers or more, or at the end."""
        return self.done(answers)
