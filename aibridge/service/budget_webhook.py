"""The webhook of budgets: warnings are posted to the operator's URL, signed, until it takes them.

The signature is that of Standard Webhooks, which libraries of many languages check:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import hmac
from base64 import b64decode, b64encode
from hashlib import sha256
from time import time
from typing import Any

from treq.client import HTTPClient
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent

from ..errors import RecordingError
from ..http.agent import UpstreamAgent
from ..record.budgets.notices import Notice, Notices
from ..record.values import storable_json

_log = Logger()

_TIMEOUT = 10.0
"""Seconds for a response."""
_EVERY = 60.0
"""Seconds between two looks for warnings that wait, such as those of a gateway that has ended."""
_SOON = 0.1
"""Seconds after a warning."""


class BudgetWebhook(Service):
    """Posts warnings to a URL. A database that is away, or a URL that fails, only makes them late."""

    def __init__(self, url: str, secret: str, notices: Notices, reactor: Any, agent: IAgent | None = None) -> None:
        self._url = url
        self._key = _key(secret)
        self._notices = notices
        self._reactor = reactor
        self._own_agent = UpstreamAgent(reactor)
        self._client = HTTPClient(agent or self._own_agent)
        self._running: Deferred[None] | None = None
        self._pause: Deferred[None] | None = None

    def startService(self) -> None:
        """Begin to look for warnings that wait."""
        super().startService()  # type: ignore[no-untyped-call]
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(lambda failure: failure.trap(CancelledError) and None)

    def stopService(self) -> "Deferred[None]":
        """End; what waits is sent after the next start."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._running is not None:
            self._running.cancel()
        return self._own_agent.close()

    def wake(self) -> None:
        """Look for a warning soon: there is a new one."""
        if self._pause is not None:
            self._reactor.callLater(_SOON, self._pause.cancel)

    async def _run(self) -> None:
        """Send what waits, again and again."""
        while self.running:
            seconds = await self._send_all()
            self._pause = deferLater(self._reactor, seconds)
            try:
                await self._pause
            except CancelledError:
                if not self.running:
                    raise
            finally:
                self._pause = None

    async def _send_all(self) -> float:
        """Send all warnings that are due, and return the seconds until the next look."""
        soonest = _EVERY
        try:
            while (notice := await self._call(self._notices.claim)) is not None:
                why = await self._send(notice)
                if why is None:
                    await self._call(self._notices.delivered, notice)
                    continue
                pause = await self._call(self._notices.failed, notice)
                soonest = min(soonest, pause)
                _log.warn("budget.webhook does not take a warning: {why}; again in {pause:g} s", why=why, pause=pause)
        except RecordingError as error:
            _log.warn("Warnings about budgets are sent later: {reason}", reason=str(error))
        return soonest

    async def _send(self, notice: Notice) -> str | None:
        """Post a warning. Return why it was not taken; None if it was."""
        body = storable_json(notice.content).encode()
        headers = Headers({b"Content-Type": [b"application/json"], b"User-Agent": [b"aibridge"]})
        for name, value in sign(self._key, str(notice.id), int(time()), body).items():
            headers.setRawHeaders(name, [value])
        try:
            response = await self._client.post(
                self._url, data=body, headers=headers, allow_redirects=False, timeout=_TIMEOUT, reactor=self._reactor
            )
            await response.content().addTimeout(_TIMEOUT, self._reactor)
        except Exception as error:
            return type(error).__name__
        return None if 200 <= response.code < 300 else f"status {response.code}"

    def _call(self, function: Any, *arguments: Any) -> "Deferred[Any]":
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)


def sign(key: bytes, id_: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that identify and sign a request."""
    signed = b".".join((id_.encode(), str(timestamp).encode(), body))
    signature = b64encode(hmac.digest(key, signed, sha256)).decode()
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }


def _key(secret: str) -> bytes:
    """Return the bytes of a secret: after ``whsec_`` they are in base64."""
    if secret.startswith("whsec_"):
        try:
            return b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            pass
    return secret.encode()
