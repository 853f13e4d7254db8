"""The headers that keep the console's responses to themselves: pages, answers of the API and exports."""

from collections.abc import Mapping
from typing import Any

PRIVATE: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def set_private_headers(request: Any, media_type: str) -> None:
    """Set the headers of a response of that media type, before its body."""
    request.setHeader("content-type", media_type)
    for name, value in PRIVATE.items():
        request.setHeader(name, value)
