"""The Site in front of everything: it bounds heads, bodies and times while they arrive, and keeps no access log."""

# twisted.web.http has no types.
# mypy: disable-error-code="no-untyped-call, override, assignment"

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.web.resource import IResource
from twisted.web.server import Site

from ..errors import GatewayError
from ..upstream.watchdog import Watchdog
from .channel import GatewayChannel
from .request import GatewayRequest


class GatewaySite(Site):
    """Serves a resource. Sizes are in bytes, times in seconds, with the meanings of the ``server`` configuration."""

    noisy = False

    def __init__(
        self,
        resource: IResource,
        *,
        max_body_bytes: int,
        head_timeout: float,
        body_timeout: float,
        keepalive_timeout: float,
        stall_timeout: float,
        reactor: Any,
    ) -> None:
        super().__init__(
            resource, requestFactory=GatewayRequest, timeout=None, reactor=reactor, parsePOSTFormSubmission=False
        )
        self.max_body_bytes = max_body_bytes
        self.head_timeout = head_timeout
        self.body_timeout = body_timeout
        self.keepalive_timeout = keepalive_timeout
        self.stall_timeout = stall_timeout
        self.watchdog = Watchdog(reactor)

    def buildProtocol(self, addr: IAddress) -> GatewayChannel:
        """A client has connected."""
        return GatewayChannel(self)

    def refusal(self, target: bytes, error: GatewayError) -> dict[str, Any]:
        """The body of a refusal: the resource knows the API's shape, if it is a bridge."""
        shape = getattr(self.resource, "refusal", None)
        return shape(target, error) if shape else error.as_either()

    def startFactory(self) -> None:
        """No access log: the bridge logs each interception itself."""

    def stopFactory(self) -> None:
        """Connections that are still open end with the process; their deadlines end here."""
        self.watchdog.stop()

    def log(self, request: GatewayRequest) -> None:
        """Nothing."""
