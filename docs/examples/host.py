"""A host program with a site of its own; aibridge answers below /ai."""

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application, Service
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource
from twisted.web.server import Site

from aibridge import Actor, AnthropicProvider, OpenAIProvider, RequestBridge
from aibridge.recorder import SQLRecorder

USERS = {"alices-token": Actor("alice", {"team": "core"})}


def authenticate(request):
    """The host's own users. Its token is taken off the request, so that no provider sees it."""
    token = request.getHeader("x-host-token")
    request.requestHeaders.removeHeader("x-host-token")
    return USERS.get(token)


class Gateway(Service):
    """The bridge and its recorder; the recorder ends last."""

    def __init__(self):
        self.recorder = SQLRecorder("sqlite:///host.sqlite")
        self.bridge = RequestBridge(
            providers=[
                AnthropicProvider(),
                OpenAIProvider(name="local", base_url="http://127.0.0.1:11434/v1", api_key="unused"),
            ],
            recorder=self.recorder,
            authenticate=authenticate,
        )

    def startService(self):
        super().startService()
        self.recorder.startService()
        self.bridge.startService()

    def stopService(self):
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self):
        await self.bridge.drain(30)
        await self.bridge.stopService()
        await self.recorder.stopService()


gateway = Gateway()
root = Resource()
root.putChild(b"ai", gateway.bridge)
site = Site(root, parsePOSTFormSubmission=False)

application = Application("host")
gateway.setServiceParent(application)
endpoint = serverFromString(reactor, "tcp:8000:interface=127.0.0.1")
StreamServerEndpointService(endpoint, site).setServiceParent(application)
