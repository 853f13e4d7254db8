"""A gateway in a process of its own, before the built-in provider."""

import os
import re
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

import aibridge

from ..chain.apis import MESSAGES
from ..chain.client import Client

_ROOT = str(Path(aibridge.__file__).parents[1])
_TWISTD = [
    sys.executable,
    "-c",
    "from twisted.scripts.twistd import run; run()",
    "-n",
    "--pidfile=",
    "aibridge",
    "--demo",
]


class GatewayProcess(ProcessProtocol):
    """``twistd aibridge`` on a configuration. `ready` fires when it listens, `ended` with its exit status."""

    def __init__(self, config: Path) -> None:
        self.said = ""
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[int] = Deferred()
        self._config = config

    def start(self) -> "Deferred[None]":
        """Begins."""
        arguments = [*_TWISTD, "--config", str(self._config.absolute())]
        environment = {"PYTHONPATH": _ROOT, "PATH": os.environ["PATH"]}
        reactor.spawnProcess(self, sys.executable, arguments, environment, str(self._config.parent))
        return self.ready

    def stop(self) -> "Deferred[int]":
        """Ends it in order."""
        if not self.ended.called:
            self.transport.signalProcess("TERM")
        return self.ended

    async def status(self, **headers: str) -> int:
        """The status of a request with these headers."""
        where = re.search(r"gateway: (?:http://([^:]+):(\d+)|unix:(\S+))", self.said)
        assert where is not None, self.said
        description = f"unix:{where[3]}" if where[3] else f"tcp:{where[1]}:{where[2]}"
        client: Client = await connectProtocol(clientFromString(reactor, description), Client())
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        client.send("POST", MESSAGES.path, MESSAGES.body(), fields)
        await client.done()
        client.leave()
        await client.when(lambda: client.closed)
        return client.answer.status

    def outReceived(self, data: bytes) -> None:
        self.said += data.decode()
        if "database: " in self.said and not self.ready.called:
            self.ready.callback(None)

    def errReceived(self, data: bytes) -> None:
        self.said += data.decode()

    def processEnded(self, reason: Failure) -> None:
        status: Any = reason.value
        if not self.ready.called:
            self.ready.errback(RuntimeError(self.said))
        self.ended.callback(status.exitCode)
