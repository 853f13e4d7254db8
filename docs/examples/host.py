"""A host program with a site of its own; aibridge answers below /ai."""

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource
from twisted.web.server import Site

from aibridge import Actor, AnthropicProvider, GatewayService, OpenAIProvider, RequestBridge
from aibridge.recorder import SQLRecorder

USERS = {"alices-token": Actor("alice", {"team": "core"})}


def authenticate(request):
    """The host's own users. Its token is taken off the request, so that no provider sees it."""
    token = request.getHeader("x-host-token")
    request.requestHeaders.removeHeader("x-host-token")
    return USERS.get(token)


application = Application("host")

providers = [
    AnthropicProvider(),
    OpenAIProvider(name="local", base_url="http://127.0.0.1:11434/v1", api_key="unused"),
]
recorder = SQLRecorder("sqlite:///host.sqlite")
bridge = RequestBridge(providers, recorder, authenticate)
GatewayService(bridge, recorder).setServiceParent(application)

root = Resource()
root.putChild(b"ai", bridge)
site = Site(root, parsePOSTFormSubmission=False)
endpoint = serverFromString(reactor, "tcp:8000:interface=127.0.0.1")
StreamServerEndpointService(endpoint, site).setServiceParent(application)
