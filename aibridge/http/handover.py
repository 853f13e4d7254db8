"""Handing a request's connection over to another protocol, as a response with the status 101 requires.

https://www.rfc-editor.org/rfc/rfc9110#section-7.8
"""

from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.web.http import HTTPChannel

from .server import GatewayChannel


def can_hand_over(request: Any) -> bool:
    """Return True if the request's connection can be handed over: it has HTTP/1.1 to itself, and is still there."""
    channel = request.channel
    if request.clientproto != b"HTTP/1.1" or getattr(channel, "transport", None) is None:
        return False
    return isinstance(channel, GatewayChannel | HTTPChannel)


def hand_over(request: Any, protocol: IProtocol) -> bytes:
    """Connect another protocol to the request's connection, and return what the client has sent behind its request.

    From here on the channel and its request have no connection. Call this only if `can_hand_over` says so.
    """
    channel = request.channel
    transport = channel.transport
    ahead = b"".join(channel._pipelined if isinstance(channel, GatewayChannel) else channel._dataBuffer)
    transport.unregisterProducer()
    channel.connectionLost(connectionDone)  # for the channel the connection is gone: it ends its timeouts
    # Over TLS the transport is itself a protocol, which wraps the one above it, or it has such a protocol.
    wrapper = transport if isinstance(transport, ProtocolWrapper) else transport.protocol
    if isinstance(wrapper, ProtocolWrapper):
        wrapper.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)
    transport.resumeProducing()  # twisted.web reads nothing while a request is served
    return ahead
