"""A worker's process: a gateway on a socket that its parent has opened, without an operator's site of its own."""

import os
import pickle
import signal
import sys
from functools import partial
from importlib import import_module
from typing import Any

from attrs import frozen
from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.logger import ILogObserver, LogEvent, Logger, globalLogBeginner, jsonFileLogObserver
from twisted.python.failure import Failure
from zope.interface import provider

from .json_log import WORKER
from .process_log import ProcessLog
from .service.assembly import assemble
from .service.standalone import StandaloneGateway
from .tap import ProcessExit, install_reactor, tune_garbage_collection
from .workers.channel import (
    COUNTS,
    FROM_PARENT,
    LISTENER,
    METRICS,
    READINESS,
    TO_PARENT,
    Message,
    MessageReader,
    WorkerSetup,
    write_message,
)
from .workers.metric_sums import take_snapshot
from .workers.shared_limits import SharedCounts, SharedRateLimiter
from .workers.shared_sockets import Balance, InheritedSocket

_log = Logger()


def main() -> None:
    """Run a worker to its end."""
    setup: WorkerSetup = pickle.load(sys.stdin.buffer)  # noqa: S301 - the parent has written it
    # Ctrl-C in a terminal reaches all of its processes. The parent then tells the workers what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if setup.reactor == asyncioreactor.__name__:
        install_reactor()
    else:
        import_module(setup.reactor).install()
    from twisted.internet import reactor

    begin_log(setup.number, setup.log)
    worker = Worker(setup, reactor)
    reactor.callWhenRunning(worker.start)
    reactor.run()


def begin_log(number: int, log: ProcessLog) -> None:
    """Write the log where the parent does, or send its events to the parent, through standard output."""
    observer: ILogObserver = log() if log.is_used else jsonFileLogObserver(sys.stdout)
    globalLogBeginner.beginLoggingTo([name_worker(number, observer)], redirectStandardIO=False)


def name_worker(number: int, observer: ILogObserver) -> ILogObserver:
    """Return an observer that says in each line, and in the event's field ``worker``, which worker it is of."""

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        place = event.get("log_system") or f"{event['log_namespace']}#{event['log_level'].name}"
        event["log_system"], event[WORKER] = f"worker {number}: {place}", number
        observer(event)

    named: ILogObserver = observe
    return named


class Worker:
    """The gateway of a worker, and its connection to the parent."""

    def __init__(self, setup: WorkerSetup, reactor: Any) -> None:
        self._reactor = reactor
        self._log = setup.log
        self._exit = ProcessExit(reactor, [signal.SIGTERM])
        self._has_failed = self._is_stopping = False
        self._link = ParentLink(self)
        counts = SharedCounts(COUNTS, setup.config.server.workers)
        rate_limiter = SharedRateLimiter(counts, setup.number - 1, self._max_requests, reactor)
        self._gateway = StandaloneGateway(
            setup.config,
            reactor=reactor,
            assemble=partial(assemble, rate_limiter=rate_limiter),
            on_failure=self._fail,
            demo=ParentsDemo(setup.demo_url) if setup.demo_url else None,
            sockets=InheritedSocket(reactor, LISTENER, Balance(counts.connections, setup.number - 1)),
            read_config=setup.read_config,
            on_reload=lambda config: setup.log.configure(config.log),
        )

    async def _start(self) -> None:
        await self._gateway.startService()
        if not self._has_failed:
            self._link.send(ready=True)

    def start(self) -> None:
        """Start the gateway, and tell the parent when it is ready."""
        for descriptor in (FROM_PARENT, TO_PARENT, COUNTS):
            os.set_inheritable(descriptor, False)
        StandardIO(self._link, stdin=FROM_PARENT, stdout=TO_PARENT)  # type: ignore[call-arg]
        self._reactor.addSystemEventTrigger("before", "shutdown", self._end)
        self._exit.take_signals(self._gateway.hurry, self._gateway.reload, self._log.reopen)
        tune_garbage_collection()
        Deferred.fromCoroutine(self._start())

    def stop(self) -> None:
        """Drain, and end the process. SIGTERM does the same, and may have come before."""
        if not self._is_stopping:
            self._is_stopping = True
            self._exit.stop_reactor()

    def hurry(self) -> None:
        """End without waiting for requests in flight."""
        self._gateway.hurry()
        self.stop()

    def answer(self, question: str) -> None:
        """Tell the parent what it has asked for, as soon as that is known."""
        if question == READINESS:
            report = Deferred.fromCoroutine(self._gateway.report())
            report.addCallback(lambda value: self._link.send(told=READINESS, value=value))
        elif (parts := self._gateway.parts) is not None:
            self._link.send(told=METRICS, value=take_snapshot(parts.registry))

    def _max_requests(self) -> int:
        return self._gateway.config.server.max_concurrent_requests

    def _fail(self, reason: str) -> None:
        self._has_failed = True
        self._link.send(failed=reason)
        self.stop()

    def _end(self) -> "Deferred[None]":
        """Stop the gateway, tell the last metrics, and close the pipes: the parent has read all by then."""
        self._is_stopping = True
        stopped: Deferred[None] = self._gateway.stopService()
        stopped.addCallback(lambda _: self.answer(METRICS))
        return stopped.addCallback(lambda _: self._link.close())


@frozen
class ParentsDemo:
    """The parent's demo provider, which the parent starts and stops."""

    url: str

    def start(self) -> "Deferred[str]":
        """Fires with the provider's URL."""
        return succeed(self.url)

    def stop(self) -> None:
        """Do nothing."""


class ParentLink(Protocol):
    """The worker's end of the pipes."""

    transport: ITransport

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._reader = MessageReader()
        self._closed: Deferred[None] | None = None

    def send(self, **message: object) -> None:
        """Send a message. A parent that is gone gets none."""
        if self.connected:
            self.transport.write(write_message(**message))

    def close(self) -> "Deferred[None] | None":
        """Send what is still to be sent. Fires when that is done."""
        if not self.connected:
            return None
        self._closed = Deferred()
        self.transport.loseConnection()
        return self._closed

    def dataReceived(self, data: bytes) -> None:
        """Do what the parent says."""
        for message in self._reader.feed(data):
            self._obey(message)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """End the worker, if the parent is gone."""
        self.connected = False
        if self._closed is not None:
            closed, self._closed = self._closed, None
            closed.callback(None)
        elif not self._closed:
            _log.error("The parent process is gone: this worker ends.")
            self._worker.hurry()

    def _obey(self, message: Message) -> None:
        if "ask" in message:
            self._worker.answer(message["ask"])
        elif message["do"] == "hurry":
            self._worker.hurry()
        else:
            self._worker.stop()
