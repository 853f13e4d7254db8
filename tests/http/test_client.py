"""treq on the way to providers, which changes nothing of what it carries."""

import gzip

from hypothesis import given
from hypothesis import strategies as st
from treq.client import HTTPClient
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import readBody
from twisted.web.resource import Resource

from aibridge.http.client import make_client
from aibridge.http.client_request import BytesProducer
from aibridge.http.headers import RawHeaders

URL = b"https://provider.example/v1/messages?beta=true"


class Response:
    """A response of an agent's."""

    def __init__(self, *headers):
        self.code = 200
        self.headers = RawHeaders(headers)


class Agent:
    """Keeps what it is asked, and responds as it is told."""

    def __init__(self, response):
        self.response = response
        self.asked = []

    def request(self, method, uri, headers=None, bodyProducer=None):
        self.asked.append((method, uri, headers, bodyProducer))
        return self.response


class ExactTests(SynchronousTestCase):
    """Over an agent, requests and responses cross treq unchanged."""

    def send(self, response, url=URL, headers=(), body=None):
        self.agent = Agent(response)
        return make_client(self.agent, Clock()).send(b"POST", url, RawHeaders(headers), body)

    def test_request(self):
        """The agent gets the method, the URL, the headers and the body producer that were given."""
        body = BytesProducer(b"{}")
        self.send(succeed(Response()), headers=[(b"X-ODD-Spelling", b"1"), (b"accept-encoding", b"br")], body=body)
        [(method, uri, headers, producer)] = self.agent.asked
        self.assertEqual((method, uri), (b"POST", URL))
        self.assertEqual(list(headers.getAllRawHeaders()), [(b"X-ODD-Spelling", [b"1"]), (b"accept-encoding", [b"br"])])
        self.assertIs(producer, body)

    @given(st.binary(max_size=40).map(lambda raw: bytes(byte for byte in raw if 32 < byte < 127)))
    def test_any_url(self, rest):
        """A URL keeps every byte: nothing in it is decoded, encoded, sorted or added."""
        self.send(succeed(Response()), url=b"http://provider.example/" + rest)
        self.assertEqual(self.agent.asked[0][1], b"http://provider.example/" + rest)

    def test_response(self):
        """The response is the agent's own; its headers are as they came, and a coding stays packed."""
        packed = Response((b"Content-Encoding", b"gzip"), (b"Set-Cookie", b"a=b"))
        self.assertIs(self.successResultOf(self.send(succeed(packed))), packed)
        self.assertEqual(
            list(packed.headers.getAllRawHeaders()), [(b"Content-Encoding", [b"gzip"]), (b"Set-Cookie", [b"a=b"])]
        )
        plain = Response()
        self.assertIs(self.successResultOf(self.send(succeed(plain))), plain)
        self.assertEqual(list(plain.headers.getAllRawHeaders()), [])

    def test_no_cookies(self):
        """A cookie of one response is not sent with the next request."""
        agent = Agent(succeed(Response((b"Set-Cookie", b"session=alice"))))
        client = make_client(agent, Clock())
        client.send(b"GET", URL, RawHeaders())
        agent.response = succeed(Response())
        client.send(b"GET", URL, RawHeaders())
        self.assertEqual([headers.hasHeader(b"cookie") for _, _, headers, _ in agent.asked], [False, False])

    def test_no_redirects(self):
        """A redirect is a response like any other: a credential is not carried to another place."""
        moved = Response((b"Location", b"https://elsewhere.example/"))
        moved.code = 307
        self.assertIs(self.successResultOf(self.send(succeed(moved))), moved)
        self.assertEqual(len(self.agent.asked), 1)

    def test_cancelled(self):
        """Cancelling reaches the agent."""
        cancelled = []
        sending = self.send(Deferred(cancelled.append))
        sending.addErrback(lambda failure: None)
        sending.cancel()
        self.assertEqual(len(cancelled), 1)


class Packing(Resource):
    """Responds packed to whoever accepts it."""

    isLeaf = True

    def render_GET(self, request):
        self.accepted = request.requestHeaders.getRawHeaders("accept-encoding")
        request.setHeader("content-encoding", "gzip")
        return gzip.compress(b"unpacked")


class OwnClient(HTTPClient):
    """A client that a host has made for its own purposes."""


class HostsClientTests(SynchronousTestCase):
    """An HTTPClient of the host's own."""

    def get(self, client_class):
        self.resource = Packing()
        agent = RequestTraversalAgent(self.resource)
        client = make_client(client_class(agent), Clock())
        sending = client.send(b"GET", b"http://provider.example/", RawHeaders())
        agent.flush()
        return self.successResultOf(readBody(self.successResultOf(sending)))

    def test_its_agent_is_used(self):
        """Requests go over its agent unchanged: treq asks for no coding and unpacks none."""
        self.assertEqual(gzip.decompress(self.get(HTTPClient)), b"unpacked")
        self.assertIsNone(self.resource.accepted)

    def test_no_cookies(self):
        """Its cookie jar gets no cookies of providers, and sends none."""
        agent = Agent(succeed(Response((b"Set-Cookie", b"session=alice"))))
        client = make_client(HTTPClient(agent), Clock())
        for _ in range(2):
            client.send(b"GET", URL, RawHeaders())
        self.assertEqual([headers.hasHeader(b"cookie") for _, _, headers, _ in agent.asked], [False, False])

    def test_subclass(self):
        """A subclass is used as it is, and does to requests and responses what treq does."""
        self.assertEqual(self.get(OwnClient), b"unpacked")
        self.assertEqual(self.resource.accepted, ["gzip"])
