"""The provider's end of a relayed WebSocket, and the request that opens it."""

# Autobahn is only partly typed.
# mypy: disable-error-code="no-untyped-call, no-untyped-def, misc, override, assignment"

import os
from base64 import b64encode
from typing import Any

from autobahn.twisted.websocket import WebSocketClientProtocol
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from ..errors import NotConnected, UpstreamFailed
from ..http.client_connection import tls_problem
from ..http.client_request import split_uri
from ..http.client_response import ResponseParser
from ..http.headers import RawHeaders
from .compression import accept_response, decline, make_offers
from .ends import End

OPENING = "the client's end is not open yet"
_UPGRADE = (b"upgrade", b"connection")
_MAX_REFUSAL = 1024 * 1024
"""Bytes of a refused handshake that are read."""


class HandshakeRefused(Exception):
    """The provider has refused a WebSocket by a response of HTTP."""

    def __init__(self, code: int, phrase: bytes, headers: RawHeaders, body: bytes) -> None:
        super().__init__(f"refused with HTTP {code}")
        self.code = code
        self.phrase = phrase
        self.headers = headers
        self.body = body


class ProviderEnd(End, WebSocketClientProtocol):
    """The end at which a provider is. `opened` fires with it once the provider has accepted the handshake."""

    version = 18  # the number by which Autobahn calls RFC 6455
    acceptMaskedServerFrames = False
    maskClientFrames = True

    def __init__(self, factory: Any, max_message_bytes: int, url: bytes, headers: RawHeaders, compressed: bool):
        super().__init__()
        self.factory = factory
        self.max_message_bytes = max_message_bytes
        self.maxMessagePayloadSize = max_message_bytes + compressed  # Autobahn may cut a compressed one off there
        self.perMessageCompressionOffers = make_offers() if compressed else []
        self.perMessageCompressionAccept = accept_response if compressed else decline
        self.headers = RawHeaders()
        """The headers of the provider's response."""
        self.opened: Deferred[ProviderEnd] = Deferred(lambda _: self.transport.abortConnection())
        self._origin, self._target = split_uri(url)
        self._request_headers = headers
        self._refusal: ResponseParser | None = None
        self._refusal_body = b""

    def startHandshake(self) -> None:
        """Send the request for a WebSocket, with the headers as they were given."""
        self.websocket_key = b64encode(os.urandom(16))
        headers = self._request_headers
        headers.set(b"Upgrade", b"websocket")
        headers.set(b"Connection", b"Upgrade")
        headers.set(b"Sec-WebSocket-Key", self.websocket_key)
        headers.set(b"Sec-WebSocket-Version", b"13")
        extensions = ", ".join(offer.get_extension_string() for offer in self.perMessageCompressionOffers)
        if extensions:
            headers.set(b"Sec-WebSocket-Extensions", extensions.encode())
        first = b"GET %b HTTP/1.1" % self._target
        self.transport.write(headers.encode((first, b"Host: " + self._origin.authority)))
        del self._request_headers, self._target

    def processHandshake(self) -> None:
        """Read the response. One that refuses is read to its end, for the client to get."""
        if self._refusal is None and b"\r\n\r\n" not in self.data:
            return
        if self._refusal is None and self.data.split(b" ", 2)[1:2] == [b"101"]:
            self._keep_headers()
            super().processHandshake()
            return
        if self._refusal is None:
            self._refusal = ResponseParser(b"GET")
        data, self.data = self.data, b""
        refusal = self._refusal
        self._refusal_body += refusal.feed(data)
        if refusal.complete or refusal.problem is not None or len(self._refusal_body) > _MAX_REFUSAL:
            self._refuse(refusal)

    def _keep_headers(self) -> None:
        """Keep the headers as they came, and leave to Autobahn only its own: it takes them for text in UTF-8."""
        head, _, rest = self.data.partition(b"\r\n\r\n")
        fields = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
        self.headers = RawHeaders((name.strip(), value.strip()) for name, _, value in fields)
        own = self.headers.filter(lambda name: name in _UPGRADE or name.startswith(b"sec-websocket-"))
        self.data = own.encode((b"HTTP/1.1 101 Switching Protocols",)) + rest

    def _refuse(self, refusal: ResponseParser) -> None:
        if refusal.started:
            error: Exception = HandshakeRefused(refusal.code, refusal.phrase, refusal.headers, self._refusal_body)
        else:
            error = UpstreamFailed(f"{self._origin} did not respond in HTTP")
        self._fire(Failure(error))
        self.transport.abortConnection()

    def failHandshake(self, reason: str) -> None:
        """The provider's 101 is none."""
        self._fire(Failure(UpstreamFailed(f"{self._origin} did not open a WebSocket as it should: {reason}")))
        self.transport.abortConnection()

    def onOpen(self) -> None:
        self.can_send = True
        del self.http_response_data, self.http_headers
        self.pause(OPENING)
        self._fire(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._refusal is not None:
            self._refuse(self._refusal)  # its end is that of the connection
        error = UpstreamFailed(f"{self._origin} closed the connection before it responded")
        if reason.check(SSL.Error, VerificationError):
            error = NotConnected(f"{self._origin}: TLS failed: {tls_problem(reason.value)}")
        self._fire(Failure(error))
        super().connectionLost(reason)

    def _fire(self, result: "ProviderEnd | Failure") -> None:
        if not self.opened.called:
            self.opened.callback(result)
