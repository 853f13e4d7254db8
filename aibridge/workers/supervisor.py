"""The parent of the workers. It opens the sockets and the operator's site, and keeps the workers running."""

import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, ProcessCollector
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, FirstError, gatherResults
from twisted.internet.process import reapAllProcesses
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from ..config.endpoints import OFF
from ..config.model import Config
from ..costs.load import check_price_file
from ..errors import AIBridgeError
from ..http.server import GatewaySite
from ..http.sockets import sending_at_once
from ..process_log import ProcessLog
from ..record.database import DatabaseAway, DatabaseRefused
from ..record.queue import WorkerThread
from ..record.upgrade import upgrade_apart
from ..service.assembly import make_site, make_spend_limits, set_limits
from ..service.changes import compare
from ..service.console_part import ConsolePart
from ..service.gateway import Reloads, StopSteps, start_or_fail
from ..service.standalone import Demo, log_start, open_port, warn_of_changes, with_demo
from .channel import COUNTS, FROM_PARENT, LISTENER, TO_PARENT, WorkerSetup
from .metric_sums import MetricSums
from .operator_site import WorkersSite, report_workers
from .shared_limits import SharedCounts, memory_file
from .shared_sockets import open_for_workers
from .worker_process import RestartingWorker, WorkerProcess

_log = Logger()

_PROGRAM = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from aibridge.worker import main; main()"
"""A worker's program: it has the modules of the parent, wherever they were found."""


class Supervisor(Service):
    """The gateway of several processes. It listens from the start on, and clients wait until a worker is ready.

    :param on_failure: called with the reason, one line, if the gateway can't start.
    :param demo: started first, and used in place of the configured providers.
    :param read_config: reads the configuration again, for `reload`. It is called in a thread, and by each worker.
    :param on_reload: called with each configuration that was read again and is in use now.
    :param on_start: called as the start begins; it may take until database and MCP servers are reached.
    :param on_started: called when requests can be served.
    :param log: where the workers write lines of their own, too; if it is not used, their events come to this process.
    """

    def __init__(
        self,
        config: Config,
        *,
        reactor: Any,
        on_failure: Callable[[str], None],
        demo: Demo | None = None,
        read_config: Callable[[], Config] | None = None,
        on_reload: Callable[[Config], None] = lambda config: None,
        on_start: Callable[[], None] = lambda: None,
        on_started: Callable[[], None] = lambda: None,
        log: ProcessLog,
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._on_failure = on_failure
        self._demo = demo
        self._demo_url = ""
        self._read_config = read_config
        self._on_reload = on_reload
        self._on_start = on_start
        self._on_started = on_started
        self._log = log
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        restarts = Counter(
            "worker_restarts", "Times that a worker died and was started again.", registry=self._registry
        )
        self._sums = MetricSums()
        self._workers = [
            RestartingWorker(number, self._spawn, self._forget, self._sums, restarts, reactor)
            for number in range(1, config.server.workers + 1)
        ]
        self._counts: SharedCounts | None = None
        self._console: ConsolePart | None = None
        self._site: GatewaySite | None = None
        """The operator's site."""
        self._port: Any = None
        self._on_stop = StopSteps()
        self._lock = DeferredLock()  # a stop waits for the start to end
        self._reloads = Reloads(self._reload)

    def startService(self) -> "Deferred[None]":
        """Fires when all workers are ready, or when `on_failure` was called."""
        super().startService()  # type: ignore[no-untyped-call]
        self._on_start()
        return self._lock.run(self._start)

    def stopService(self) -> "Deferred[None]":
        """Close the ports, and have all workers drain. Fires when they have ended."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._stop_workers()
        return self._lock.run(Deferred.fromCoroutine, self._on_stop.run())

    def hurry(self) -> None:
        """Have all workers end without waiting for requests in flight."""
        for worker in self._workers:
            worker.hurry()

    def reload(self) -> "Deferred[None]":
        """Read the configuration again, for workers that are still to be started, and have each worker do so too."""
        return self._reloads.run()

    async def _reload(self) -> None:
        if self._read_config is None:
            _log.warn("The configuration can't be read again: restart the gateway for other settings.")
            return
        try:
            new = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._read_again)
        except AIBridgeError as error:
            _log.error("The configuration is not used, and everything stays as it was: {reason}", reason=str(error))
            return
        except Exception:
            _log.failure("The configuration could not be read again.")
            return
        changes = compare(self._config, new)
        self._config = changes.config
        self._on_reload(self._config)
        if self._console is not None and self._site is not None:
            self._console.reload(self._config)
            set_limits(self._site, self._config.server)
        warn_of_changes(changes)
        self.forward(signal.SIGHUP)

    def _read_again(self) -> Config:
        """Return the configuration, if each worker can use it. Runs in a thread."""
        assert self._read_config is not None
        config = self._read_config()
        check_price_file(config.prices)
        return config

    def reopen_log(self) -> None:
        """Open the log's file again, and have each worker do so."""
        self._log.reopen()
        self.forward(signal.SIGUSR1)

    async def report(self) -> dict[str, Any]:
        """Return the report of ``/readyz``."""
        return await report_workers(self._workers)

    def forward(self, number: int) -> None:
        """Send a signal to all workers."""
        for worker in self._workers:
            worker.send_signal(number)

    def _start(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(
            start_or_fail(self._start_parts, self._on_stop, self._on_failure, self._on_started)
        )

    async def _start_parts(self) -> None:
        self._reactor.callWhenRunning(watch_children, self._reactor)
        server = self._config.server
        if self._demo is not None:
            self._demo_url = await self._demo.start()
            self._on_stop.add(self._demo.stop)
        await self._migrate()
        self._counts = SharedCounts(memory_file(), server.workers)
        self._on_stop.add(self._counts.close)
        self._on_stop.add(self._stop_workers)
        ports = {}
        if server.admin_listen != OFF:
            report = partial(report_workers, self._workers)
            console = self._console = ConsolePart(self._config, report, self._registry, self._reactor)
            root = WorkersSite(self._registry, self._sums, self._workers, console.root)
            root.putChild(b"v1", make_spend_limits(self._config, console, self._reactor))
            site = self._site = make_site(root, server, self._reactor)
            ports["admin_listen"] = await open_port(
                "admin_listen", server.admin_listen, site, sending_at_once(self._reactor)
            )
            console.start()
            self._on_stop.add(lambda: Deferred.fromCoroutine(console.stop()))
            self._on_stop.add(ports["admin_listen"].stopListening)
        ports["listen"] = self._port = await open_for_workers(server.listen, self._reactor)
        self._on_stop.add(self._port.stopListening)
        await start_all(self._workers)
        log_start(with_demo(self._config, self._demo_url), {key: port.getHost() for key, port in ports.items()})

    async def _migrate(self) -> None:
        """Bring the database to the present schema, before any worker opens it. One that is away is left to them."""
        settings = self._config.database
        thread = WorkerThread(self._reactor, "aibridge-migrations")
        migrated = thread.run(partial(upgrade_apart, settings.url))
        thread.stop()  # after that
        try:
            await migrated.addTimeout(settings.commit_timeout, self._reactor, onTimeoutCancel=lambda *_: None)
        except DatabaseAway:
            pass
        except DatabaseRefused:
            if not settings.wait:
                raise

    def _spawn(self, number: int, process: WorkerProcess) -> None:
        """Start a process with its descriptors, and write to it what it needs."""
        assert self._counts is not None
        setup = WorkerSetup(
            number=number,
            config=self._config,
            read_config=self._read_config,
            demo_url=self._demo_url,
            reactor=type(self._reactor).__module__,
            log=self._log.for_process(),
        )
        transport = self._reactor.spawnProcess(
            process,
            sys.executable,
            [sys.executable, "-P", "-c", _PROGRAM, "aibridge", f"worker {number}"],
            env=None,
            childFDs={
                0: "w",
                1: 1 if self._log.is_used else "r",
                2: "r",
                FROM_PARENT: "w",
                TO_PARENT: "r",
                LISTENER: self._port.fileno(),
                COUNTS: self._counts.descriptor,
            },
        )
        transport.write(pickle.dumps(sys.path) + pickle.dumps(setup))
        transport.closeStdin()

    def _forget(self, number: int) -> None:
        """Take away the requests in flight of a worker's process that has ended."""
        if self._counts is not None:
            self._counts.clear(number - 1)

    def _stop_workers(self) -> "Deferred[Any]":
        return gatherResults([worker.stop() for worker in self._workers])


async def start_all(workers: Sequence[RestartingWorker]) -> None:
    """Start the workers, and wait until all are ready. Raise `WorkerFailed` if one of them can't start."""
    try:
        await gatherResults([worker.start() for worker in workers], consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()


def watch_children(reactor: Any) -> None:
    """Have the reactor learn that a process has ended. uvloop takes over the descriptor that tells Twisted of it."""
    signal.signal(signal.SIGCHLD, lambda *_: reactor.callFromThread(reapAllProcesses))
