"""Compression of messages (permessage-deflate) with small windows: https://www.rfc-editor.org/rfc/rfc7692

With Autobahn's defaults a connection takes 300 kB; with windows of 12 bits it takes a tenth of that.
"""

# Autobahn is only partly typed.
# mypy: disable-error-code="no-untyped-call"

from collections.abc import Callable, Sequence

from autobahn.websocket.compress import (
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
    PerMessageDeflateResponse,
    PerMessageDeflateResponseAccept,
)

_WINDOW_BITS = 12
_MEM_LEVEL = 5


def accept_offer(max_message_bytes: int | None) -> Callable[[Sequence[object]], PerMessageDeflateOfferAccept | None]:
    """Return the choice among a client's offers: one that lets the gateway have small windows; none without a bound."""

    def accept(offers: Sequence[object]) -> PerMessageDeflateOfferAccept | None:
        for offer in offers if max_message_bytes is not None else ():
            if isinstance(offer, PerMessageDeflateOffer) and offer.accept_max_window_bits:
                return PerMessageDeflateOfferAccept(
                    offer,
                    request_max_window_bits=min(_WINDOW_BITS, offer.request_max_window_bits or _WINDOW_BITS),
                    window_bits=min(_WINDOW_BITS, offer.request_max_window_bits or _WINDOW_BITS),
                    mem_level=_MEM_LEVEL,
                    max_message_size=max_message_bytes,
                )
        return None

    return accept


def offers() -> list[PerMessageDeflateOffer]:
    """Return what a provider is offered."""
    return [PerMessageDeflateOffer(accept_max_window_bits=True, request_max_window_bits=_WINDOW_BITS)]


def accept_response(max_message_bytes: int | None) -> Callable[[object], PerMessageDeflateResponseAccept | None]:
    """Return the decision on a provider's answer to the offer."""

    def accept(response: object) -> PerMessageDeflateResponseAccept | None:
        if max_message_bytes is None or not isinstance(response, PerMessageDeflateResponse):
            return None
        bits = min(_WINDOW_BITS, response.client_max_window_bits or _WINDOW_BITS)
        return PerMessageDeflateResponseAccept(
            response, window_bits=bits, mem_level=_MEM_LEVEL, max_message_size=max_message_bytes
        )

    return accept
