"""The base URL that a client should have been given, for requests that miss their route because of a wrong one."""

import re
from collections.abc import Sequence

from twisted.web.iweb import IRequest

from ..errors import MethodNotAllowed, RouteUnknown, WrongBaseURL
from ..interfaces import IProvider
from .paths import read_path, split_target

_PRINTABLE_HOST = re.compile(rb"[A-Za-z0-9._:\[\]-]{1,255}")
_VERSION = "v1"


class BaseURLs:
    """The base URLs of the providers' routes."""

    def __init__(self, providers: Sequence[IProvider]) -> None:
        self._providers = providers

    def explain(self, request: IRequest, error: RouteUnknown) -> RouteUnknown:
        """Return an error that names the base URL to set, or the given one if the path is no route under any base URL.

        Clients add their own path to the base URL. A base URL that lacks the provider's name or ``/v1``, has one of
        them twice or has another provider's name, leaves that path at the end of the request's. The status is 421,
        because Claude Code hides the text of a 404.
        """
        try:
            path = read_path(request.uri, len(request.prepath))
        except RouteUnknown:
            return error
        segments = [path.provider, *path.raw.decode("ascii", "replace").split("/")[1:]]
        asked = "/".join(["", *segments])[:200]
        names = [provider.name for provider in self._providers]
        versions, named = 0, None
        while segments and (segments[0] == _VERSION or segments[0] in names):
            if segments[0] == _VERSION:
                versions += 1
            else:
                named = segments[0]
            del segments[0]
        rest = "/" + "/".join(segments)
        found = self._provider_of(request, rest, named)
        if found is None:
            return error
        provider, route = found
        root = f"{_root(request)}/{provider.name}"
        mount = getattr(provider, "mount", "")  # a host's own provider may have none
        lacks_version = versions == 0 and route != rest
        advice = f"Set the base URL to {root}{'/v1' if lacks_version else mount}"
        if versions > 1 and mount:
            advice += f", or to {root} if the client adds /v1 itself"
        return WrongBaseURL(f"{advice}: there is no route {asked!r} here.")

    def _provider_of(self, request: IRequest, rest: str, named: str | None) -> tuple[IProvider, str] | None:
        """Return the provider that has this route, with or without ``/v1`` before it, and the route's path.

        Several may have it: the one that the path names comes first, then those whose API the client seems to speak.
        """
        is_anthropic = request.requestHeaders.hasHeader(b"anthropic-version")
        likely = sorted(
            self._providers, key=lambda each: (each.name != named, (_client_type(each) == "anthropic") != is_anthropic)
        )
        for provider in likely if rest != "/" else ():
            for route in (f"/{_VERSION}{rest}", rest):
                try:
                    provider.route(request.method, route)
                except MethodNotAllowed:
                    pass
                except RouteUnknown:
                    continue
                return provider, route
        return None


def _client_type(provider: IProvider) -> str:
    """Return the type of provider for which its clients are made; a host's own provider may have none."""
    return str(getattr(provider, "client_type", provider.type))


def _root(request: IRequest) -> str:
    """Return the URL below which the providers' names stand, as the client sees it."""
    headers = request.requestHeaders
    host = split_target(request.uri)[0] or headers.getRawHeaders(b"host", [b""])[0]
    if not _PRINTABLE_HOST.fullmatch(host):
        return "…"
    is_secure = request.isSecure() or headers.getRawHeaders(b"x-forwarded-proto") == [b"https"]
    prefix = b"".join(b"/" + segment for segment in request.prepath).decode("ascii", "replace")
    return f"{'https' if is_secure else 'http'}://{host.decode('ascii')}{prefix}"
