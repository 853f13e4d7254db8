"""The client's end of a relayed WebSocket, and what it shares with the provider's: Autobahn's protocols.

Autobahn reads and writes frames. Its options are class attributes here, for else it copies each into every connection.
Its timers are off: they would run on the one global reactor.
"""

# Autobahn is only partly typed.
# mypy: disable-error-code="no-untyped-call, no-untyped-def, misc, override, assignment"

from collections.abc import Mapping
from typing import Any, Protocol

import txaio
from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from ..http.sockets import TCPTransport
from .compression import accept_offer, decline

_BINARY, _TOO_BIG = 1003, 1009
CUT = 1006
"""The code of a connection that was cut without a close frame; it is never sent."""


class EndOwner(Protocol):
    """Both ends report to their owner."""

    def received(self, end: "End", message: bytes) -> None:
        """A whole text message has come."""

    def closing(self, end: "End", code: int | None, reason: str) -> None:
        """The end is closed, by its peer or for a message that it sent. The code is None if the peer gave none."""

    def lost(self, end: "End") -> None:
        """The end's connection is gone."""

    def paused(self, end: "End") -> None:
        """The end's peer takes nothing more for now."""

    def resumed(self, end: "End") -> None:
        """The end's peer takes more again."""


class End:
    """The behaviour that both ends share. A paused end hands over no further message, and reads no more bytes."""

    # Autobahn's options.
    logOctets = logFrames = trackTimings = False
    applyMask = utf8validateIncoming = tcpNoDelay = True
    failByDrop = False
    """False: a message that is not accepted is answered with a close code."""
    echoCloseCodeReason = True
    maxFramePayloadSize = autoFragmentSize = 0
    openHandshakeTimeout = closeHandshakeTimeout = serverConnectionDropTimeout = 0
    autoPingInterval = autoPingTimeout = 0
    autoPingSize = 12
    autoPingRestartOnAnyTraffic = False
    log = txaio.make_logger("none")  # type: ignore[attr-defined]
    peer = ""

    transport: TCPTransport
    owner: EndOwner | None = None
    can_send = False
    """True while messages can be sent."""
    answered_ping = True
    """False if the peer has not responded to the last ping."""
    pauses: frozenset[str] = frozenset()
    """The reasons for which the end is paused."""
    _is_consuming = False
    _has_producer = False
    _has_reported = False

    # Autobahn's hooks

    def connectionMade(self: Any) -> None:
        self.transport.setTcpNoDelay(True)
        self._connectionMade()

    def dataReceived(self: Any, data: bytes) -> None:
        self.data += data
        self._consume()

    def connectionLost(self: Any, reason: Failure = connectionDone) -> None:
        self._connectionLost(reason)
        self.can_send = False
        self._report(CUT, "")
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.lost(self)

    def sendData(self: Any, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        self.transport.write(data)

    def unregisterProducer(self: Any) -> None:
        if self._has_producer:
            self._has_producer = False
            self.transport.unregisterProducer()

    def processData(self: Any) -> bool:
        if self.pauses:
            return False
        more: bool = super().processData()
        return more

    def onMessageEnd(self: Any) -> None:
        """Hand over a message. Autobahn's own way makes a Deferred for each, a quarter of the cost of an event."""
        pieces, self.message_data = self.message_data, None
        if self.failedByMe:
            return
        message = b"".join(pieces)
        if self.message_is_binary:
            self._fail_connection(_BINARY, "only text messages are accepted")
        elif len(message) > self.max_message_bytes:
            self._fail_connection(_TOO_BIG, "the message is too large")
        elif self.owner is not None and self.can_send:
            self.owner.received(self, message)

    def onPong(self, payload: bytes) -> None:
        self.answered_ping = True

    def onCloseFrame(self: Any, code: int | None, reasonRaw: bytes | None) -> bool | None:
        was_open, self.can_send = self.can_send, False
        ended: bool | None = super().onCloseFrame(code, reasonRaw)
        if was_open:
            self._report(self.remoteCloseCode, self.remoteCloseReason or "")
        return ended

    def _fail_connection(self: Any, code: int = 1002, reason: str = "") -> None:
        super()._fail_connection(code, reason)
        if self.can_send:
            self.can_send = False
            self._report(code, reason)

    # For the owner

    def start(self: Any, owner: EndOwner) -> None:
        """Hand over messages from now on."""
        self.owner = owner
        self._has_producer = True
        self.transport.registerProducer(self, True)

    def send(self: Any, message: bytes) -> None:
        """Send a text message, if the connection is open."""
        if not self.can_send:
            return
        if self._perMessageCompress is None:
            self.sendFrame(opcode=WebSocketProtocol.MESSAGE_TYPE_TEXT, payload=message)
        else:
            self.sendMessage(message)

    def ping(self: Any) -> None:
        """Ask the peer for a sign of life."""
        if self.can_send:
            self.answered_ping = False
            self.sendPing()

    def close(self: Any, code: int | None, reason: str = "") -> None:
        """Send a close frame, with this code if there is one."""
        if self.can_send:
            self.can_send = False
            self._has_reported = True
            if self.pauses:  # the answer to the close frame must be read
                self.pauses = frozenset()
                self.transport.resumeProducing()
            self.sendCloseFrame(code=code, reasonUtf8=reason.encode()[:123] if code is not None else None)

    def abort(self: Any) -> None:
        """Close the connection at once, without a close frame."""
        self.can_send = False
        self._has_reported = True
        self.transport.abortConnection()

    @property
    def is_paused(self) -> bool:
        """True while nothing is read of what the peer sends."""
        return bool(self.pauses)

    def pause(self: Any, reason: str) -> None:
        """Hand over no further message until `resume` is called with the same reason."""
        if not self.pauses:
            self.transport.pauseProducing()
        self.pauses |= {reason}

    def resume(self: Any, reason: str) -> None:
        """Hand over messages again, unless there is another reason not to."""
        if reason not in self.pauses:
            return
        self.pauses -= {reason}
        self._consume()
        if not self.pauses:
            self.transport.resumeProducing()

    # The transport's producer

    def pauseProducing(self: Any) -> None:
        if self.owner is not None:
            self.owner.paused(self)

    def resumeProducing(self: Any) -> None:
        if self.owner is not None:
            self.owner.resumed(self)

    def stopProducing(self) -> None:
        """Do nothing: `connectionLost` follows."""

    def _consume(self: Any) -> None:
        """Read what is there. A message may resume the end that is just reading: one loop is enough."""
        if self._is_consuming:
            return
        self._is_consuming = True
        try:
            self.consumeData()
        finally:
            self._is_consuming = False

    def _report(self: Any, code: int | None, reason: str) -> None:
        if not self._has_reported and self.owner is not None:
            self._has_reported = True
            self.owner.closing(self, code, reason)


class ClientEnd(End, WebSocketServerProtocol):
    """The end at which a client is."""

    versions = [13]
    webStatus = False
    requireMaskedClientFrames = True
    maskServerFrames = False
    serveFlashSocketPolicy = False
    flashSocketPolicy = ""
    allowedOrigins = ["*"]
    allowedOriginsPatterns: Any = ()
    allowNullOrigin = True
    maxConnections = trustXForwardedFor = 0

    def __init__(self, factory: Any, max_message_bytes: int, headers: Mapping[str, list[str]], compressed: bool):
        super().__init__()
        self.factory = factory
        self.max_message_bytes = max_message_bytes
        self.maxMessagePayloadSize = max_message_bytes + compressed  # Autobahn may cut a compressed one off there
        self.perMessageCompressionAccept = accept_offer if compressed else decline
        self._headers = headers

    def begin(self, key: bytes, extensions: bytes, ahead: bytes) -> None:
        """Respond to the handshake of a client with this key: 101, with the headers that were given.

        `ahead` is what the client has sent behind its request.
        """
        head = b"GET / HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        head += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n" % key
        if extensions:
            head += b"Sec-WebSocket-Extensions: %b\r\n" % extensions
        self.dataReceived(head + b"\r\n" + ahead)

    def onConnect(self, request: object) -> tuple[None, Mapping[str, list[str]]]:
        return None, self._headers

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        if self.state == WebSocketProtocol.STATE_CONNECTING:  # headers, of which each character stands for a byte
            data = data.decode().encode("latin-1")
        self.transport.write(data)

    def onOpen(self) -> None:
        self.can_send = True
        del self.http_request_data, self.http_response_data, self.http_headers, self._headers
        self.websocket_extensions = []
