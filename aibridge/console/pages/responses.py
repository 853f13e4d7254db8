"""The responses of the pages, with the headers that keep them to themselves."""

from functools import cache
from pathlib import Path
from typing import Any

_STATIC = Path(__file__).parent / "static"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def send(request: Any, body: bytes, media_type: str = "text/html; charset=utf-8") -> None:
    """Send a whole response; its status is set already."""
    request.setHeader("content-type", media_type)
    for name, value in _HEADERS.items():
        request.setHeader(name, value)
    request.setHeader("content-length", str(len(body)))
    if request.method != b"HEAD":
        request.write(body)
    request.finish()


def redirect(request: Any, target: str) -> None:
    """Lead to another page of this site."""
    request.setResponseCode(303)
    request.setHeader("location", target)
    send(request, b"", "text/plain; charset=utf-8")


def send_file(request: Any, name: str) -> None:
    """Send one of the pages' static files."""
    found = _files().get(name)
    request.setResponseCode(200 if found else 404)
    send(request, *(found or (b"There is no such file.", "text/plain; charset=utf-8")))


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    """Return the content and the type of each static file, by name."""
    return {path.name: (path.read_bytes(), _TYPES[path.suffix]) for path in _STATIC.iterdir() if path.suffix in _TYPES}
