"""The HTTP client of the gateway: treq, kept from changing what it carries.

treq's defaults are made for people. A gateway's requests must arrive as they were given, and its responses as they
came: no cookies, no redirects, no content coding asked for or unpacked, and the URL byte for byte. Small pieces see to
that: a URL that is final, a cookie jar that stays empty, and headers that treq can't change.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol
from urllib.request import Request as StdlibRequest

from attrs import define
from hyperlink import EncodedURL
from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer


class Client(Protocol):
    """Sends requests; what the gateway needs of an HTTP client."""

    def send(
        self, method: bytes, url: bytes, headers: Headers, body: IBodyProducer | None = None
    ) -> "Deferred[IResponse]":
        """Send a request. Fires with the response as soon as its head is there; cancelling ends the request."""


class FinalURL(EncodedURL):
    """A URL in its final form, which treq neither parses nor encodes again."""

    def __init__(self, url: bytes) -> None:
        self._text = url.decode("latin-1")

    def to_uri(self) -> "FinalURL":
        """This URL."""
        return self

    def to_text(self, with_password: bool = False) -> str:
        """This URL's text, as it was given."""
        return self._text


class EmptyCookieJar(IndexableCookieJar):
    """A cookie jar that keeps nothing: the cookies of one user's answer are never sent with another's request."""

    def extract_cookies(self, response: Any, request: StdlibRequest) -> None:
        """Keep no cookie."""


_NO_COOKIES = EmptyCookieJar()


class _SealedHeaders(Headers):
    """The headers of one request, which treq may look at but not add to."""

    __slots__ = ("original",)

    def __init__(self, original: Headers) -> None:
        self.original = original

    def hasHeader(self, name: Any) -> bool:
        """Return True: treq looks for ``Cookie`` alone, and looks into its cookie jar where there is none."""
        return True

    def copy(self) -> "_SealedHeaders":
        """Return these headers: a copy for treq to change is not needed."""
        return self

    def addRawHeader(self, name: str | bytes, value: str | bytes) -> None:
        """Add nothing: treq asks for ``Accept-Encoding: gzip`` here."""


class _NoHeaders(Headers):
    """The headers of a response as treq sees them: none, so that it finds no content coding to unpack."""

    def setRawHeaders(self, name: str | bytes, values: Sequence[str | bytes]) -> None:
        """Set nothing: treq writes an empty ``Content-Encoding`` where a response has none."""


@define(eq=False)
class _SealedResponse:
    """A response on its way through treq, which wraps it and gets to read nothing of it."""

    original: IResponse
    headers: ClassVar[Headers] = _NoHeaders()


def _seal(response: IResponse) -> Any:
    return _SealedResponse(response)


@implementer(IAgent)
@define(eq=False)
class _ExactAgent:
    """The agent below treq: it sends the headers that the gateway gave, and hides those of the response."""

    _agent: IAgent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> "Deferred[IResponse]":
        """Send the request over the agent that was given."""
        assert isinstance(headers, _SealedHeaders)
        sent: Deferred[IResponse] = self._agent.request(method, uri, headers.original, bodyProducer)
        return sent.addCallback(_seal)


@define(eq=False)
class TreqClient:
    """A `Client` on treq. With `exact`, requests and responses cross treq unchanged."""

    _treq: HTTPClient
    _clock: Any  # treq asks for a whole reactor, and uses its clock
    _exact: bool = False

    def send(
        self, method: bytes, url: bytes, headers: Headers, body: IBodyProducer | None = None
    ) -> "Deferred[IResponse]":
        """See `Client.send`."""
        sent = self._treq.request(
            method.decode("ascii"),
            FinalURL(url),
            headers=_SealedHeaders(headers) if self._exact else headers,
            data=body,
            cookies=_NO_COOKIES,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._clock,
        )
        return sent.addCallback(_unwrap)


def _unwrap(response: Any) -> IResponse:
    """Return the agent's own response from treq's wrapper around it."""
    original = response.original
    return original.original if type(original) is _SealedResponse else original


def make_client(given: IAgent | HTTPClient, clock: IReactorTime) -> Client:
    """Return a client over an agent, or over the agent of a treq `HTTPClient`; requests and responses keep every byte.

    An `HTTPClient` itself would ask for gzip and unpack it, and would send one user's cookies with the requests of
    others. A subclass of it does so only if its host wants that: it is used as it is.
    """
    if isinstance(given, HTTPClient) and type(given) is not HTTPClient:
        return TreqClient(given, clock)
    agent = given._agent if isinstance(given, HTTPClient) else given
    return TreqClient(HTTPClient(_ExactAgent(agent), _NO_COOKIES), clock, exact=True)
