"""The HTTP client of the gateway: treq, kept from changing what it carries.

treq's defaults are made for people. A gateway's requests must arrive as they were given, and its responses as they
came: no cookies, no redirects, no content coding asked for or unpacked, and the URL byte for byte. Small pieces see to
that: a URL that is final, a cookie jar that stays empty, headers that treq can't change, and a response that goes past
treq.
"""

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any, Protocol
from urllib.request import Request as StdlibRequest

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


class _Unanswered:
    """The response that treq waits for, which never comes: the gateway gets it from the agent.

    treq would look in it for cookies and a content coding, and wrap it: five callbacks, of which nothing is wanted.
    """

    def addCallback(self, *_: object) -> "_Unanswered":
        """Forget the callback."""
        return self


_UNANSWERED = _Unanswered()


@implementer(IAgent)
class _ExactAgent:
    """The agent below treq: it sends the headers that the gateway gave, and keeps the response from treq."""

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent
        self.sent: Deferred[IResponse] | None = None
        """The response to the request that was just sent."""

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Any:
        """Send the request over the agent that was given."""
        assert isinstance(headers, _SealedHeaders)
        self.sent = self._agent.request(method, uri, headers.original, bodyProducer)
        return _UNANSWERED


class ExactClient:
    """A `Client` on treq over an agent. Requests and responses cross treq unchanged."""

    def __init__(self, agent: IAgent, clock: Any) -> None:
        self._agent = _ExactAgent(agent)
        self._ask = _bare_request(HTTPClient(self._agent, _NO_COOKIES), clock)

    def send(
        self, method: bytes, url: bytes, headers: Headers, body: IBodyProducer | None = None
    ) -> "Deferred[IResponse]":
        """See `Client.send`."""
        self._ask(method.decode("ascii"), FinalURL(url), headers=_SealedHeaders(headers), data=body)
        sent, self._agent.sent = self._agent.sent, None
        assert sent is not None
        return sent


class TreqClient:
    """A `Client` on a host's own treq client, which does to requests and responses what it does to all."""

    def __init__(self, client: HTTPClient, clock: Any) -> None:
        self._ask = _bare_request(client, clock)

    def send(
        self, method: bytes, url: bytes, headers: Headers, body: IBodyProducer | None = None
    ) -> "Deferred[IResponse]":
        """See `Client.send`."""
        sent = self._ask(method.decode("ascii"), FinalURL(url), headers=headers, data=body)
        return sent.addCallback(attrgetter("original"))  # the agent's own response, without treq's wrapper around it


def _bare_request(client: HTTPClient, clock: Any) -> "Callable[..., Deferred[Any]]":
    """Return treq's `request` without what it adds by itself. It asks for a whole reactor, and uses its clock."""
    return partial(client.request, cookies=_NO_COOKIES, allow_redirects=False, unbuffered=True, reactor=clock)


def make_client(given: IAgent | HTTPClient, clock: IReactorTime) -> Client:
    """Return a client over an agent, or over the agent of a treq `HTTPClient`; requests and responses keep every byte.

    An `HTTPClient` itself would ask for gzip and unpack it, and would send one user's cookies with the requests of
    others. A subclass of it does so only if its host wants that: it is used as it is.
    """
    if isinstance(given, HTTPClient) and type(given) is not HTTPClient:
        return TreqClient(given, clock)
    agent = given._agent if isinstance(given, HTTPClient) else given
    return ExactClient(agent, clock)
