"""The responses of the pages, with the headers that keep them to themselves."""

from functools import cache
from pathlib import Path
from typing import Any

from ..headers import set_private_headers

_STATIC = Path(__file__).parent / "static"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


def send(request: Any, body: bytes, media_type: str = "text/html; charset=utf-8") -> None:
    """Send a whole response; its status is set already."""
    set_private_headers(request, media_type)
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
