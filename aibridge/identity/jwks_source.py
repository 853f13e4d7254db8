"""Where an issuer's keys come from: a file, or a URL."""

from io import BytesIO
from pathlib import Path
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http import PotentialDataLoss

from .keyring import Fetch

_SECONDS_TO_CONNECT = 5.0
_SECONDS_IN_ALL = 10.0
_MOST_BYTES = 1 << 20


def from_file(path: str, reactor: Any) -> Fetch:
    """Reads that file each time, so that it can be replaced."""
    return lambda: deferToThreadPool(reactor, reactor.getThreadPool(), Path(path).read_bytes)


def from_url(url: str, reactor: Any) -> Fetch:
    """Asks there each time; it waits ten seconds and takes a mebibyte at most."""

    def fetch() -> "Deferred[bytes]":
        return Deferred.fromCoroutine(_get(url, reactor)).addTimeout(_SECONDS_IN_ALL, reactor)

    return fetch


async def _get(url: str, reactor: Any) -> bytes:
    client = HTTPClient(Agent(reactor, connectTimeout=_SECONDS_TO_CONNECT))
    response = await client.get(url, allow_redirects=False, unbuffered=True)
    body = _Body()
    response.deliverBody(body)
    document = await body.whole
    if response.code != 200:
        raise ValueError(f"the issuer answered {response.code}")
    return document


class _Body(Protocol):
    """Takes an answer as long as it is small. Its connection ends with it, whoever ends it."""

    transport: Any

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self.transport.stopProducing())
        self._received = BytesIO()

    def dataReceived(self, data: bytes) -> None:
        self._received.write(data)
        if self._received.tell() > _MOST_BYTES and not self.whole.called:
            self.whole.errback(ValueError(f"the issuer's answer is over {_MOST_BYTES} bytes"))
            self.transport.stopProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.whole.called:
            whole = reason.check(ResponseDone, PotentialDataLoss)
            self.whole.callback(self._received.getvalue() if whole else reason)
