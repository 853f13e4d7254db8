"""Compression of messages (permessage-deflate) with small windows: https://www.rfc-editor.org/rfc/rfc7692

With Autobahn's defaults a connection takes 300 kB; with windows of 12 bits it takes a tenth of that.
"""

# Autobahn is only partly typed.
# mypy: disable-error-code="no-untyped-call"

from collections.abc import Sequence

from autobahn.websocket.compress import (
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
    PerMessageDeflateResponse,
    PerMessageDeflateResponseAccept,
)

_WINDOW_BITS = 12
_MEM_LEVEL = 5


def accept_offer(offers: Sequence[object]) -> PerMessageDeflateOfferAccept | None:
    """Return the choice among a client's offers: one that lets both sides have small windows, if there is any."""
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer) and offer.accept_max_window_bits:
            bits = min(_WINDOW_BITS, offer.request_max_window_bits or _WINDOW_BITS)
            return PerMessageDeflateOfferAccept(
                offer, request_max_window_bits=_WINDOW_BITS, window_bits=bits, mem_level=_MEM_LEVEL
            )
    return None


def make_offers() -> list[PerMessageDeflateOffer]:
    """Return what a provider is offered."""
    return [PerMessageDeflateOffer(accept_max_window_bits=True, request_max_window_bits=_WINDOW_BITS)]


def accept_response(response: object) -> PerMessageDeflateResponseAccept | None:
    """Return the decision on a provider's answer to the offer."""
    if not isinstance(response, PerMessageDeflateResponse):
        return None
    bits = min(_WINDOW_BITS, response.client_max_window_bits or _WINDOW_BITS)
    return PerMessageDeflateResponseAccept(response, window_bits=bits, mem_level=_MEM_LEVEL)


def decline(offered: object) -> None:
    """Return None: messages are not compressed."""
