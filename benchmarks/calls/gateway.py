"""A gateway in this process, run as ``twistd -n aibridge`` runs it, and exchanges with it that are counted."""

import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

from attrs import define
from twisted.scripts.twistd import ServerOptions, runApp

from benchmarks.calls.counter import Counter, Trace
from benchmarks.calls.exchange import DELTA, END_OF_DELTA, END_OF_STREAM, LAST_EVENTS, MESSAGE, Client, Upstream
from benchmarks.processes import free_port, listening
from benchmarks.tools import write_config

WARM_UP = 20
SAMPLES = 5
SECONDS_TO_SETTLE = 0.1
"""Time for the log's line, which is written after the response."""
SECONDS_OF_TIMERS = 1.0
Measured = dict[str, tuple[Trace, Trace]]
"""For each workload the trace of the reactor's thread, and that of all others."""


def measure() -> Measured:
    """Run a gateway with an empty database, and count what one small request and one event of a stream take."""
    measured: Measured = {}
    upstream = Upstream()
    upstream.start()
    with TemporaryDirectory(prefix="aibridge-calls-") as temporary:
        log = (Path(temporary) / "log").open("w")  # never closed: the log's last lines leave as the process ends
        database = f"sqlite:///{temporary}/calls.sqlite"
        ports = {"port": free_port(), "admin_port": free_port()}
        address = f"http://127.0.0.1:{upstream.port}"
        config = write_config(
            "aibridge.toml", Path(temporary), database=database, upstream=address, ca_file="", **ports
        )
        options = ServerOptions()
        with redirect_stdout(log), redirect_stderr(log):
            options.parseOptions(["--nodaemon", "--pidfile=", "aibridge", "--config", str(config)])
            from twisted.internet import reactor  # installed by aibridge's options

            run = _Run(ports["port"], upstream, Counter(), reactor, measured)
            Thread(target=run.drive, daemon=True).start()
            run.counter.install()
            runApp(options)
        if len(measured) < 2:
            log.flush()
            raise SystemExit(f"The gateway could not be measured:\n{Path(log.name).read_text()}")
    return measured


@define
class _Run:
    """The clients' side, on a thread of its own."""

    port: int
    upstream: Upstream
    counter: Counter
    reactor: Any
    measured: Measured

    def drive(self) -> None:
        """Send all requests, then stop the reactor."""
        try:
            self._wait_until_listening()
            client = Client(self.port)
            for _ in range(WARM_UP):
                _request(client)
                self._stream(client)
            self.measured["small request"] = self._count(lambda: _request(client))
            client.send(streaming=True)
            self._event(client)
            self.measured["streamed event"] = self._count(lambda: self._event(client))
        finally:
            self.reactor.callFromThread(self.reactor.stop)

    def _wait_until_listening(self) -> None:
        while not listening(self.port):
            time.sleep(0.05)

    def _stream(self, client: Client) -> None:
        client.send(streaming=True)
        self._event(client)
        self.upstream.send(LAST_EVENTS)
        client.receive(END_OF_STREAM)

    def _event(self, client: Client) -> None:
        self.upstream.send(DELTA)
        client.receive(END_OF_DELTA)

    def _count(self, act: Callable[[], None]) -> tuple[Trace, Trace]:
        """Return the traces of the sample with the fewest calls. Timers that run without a request don't count."""
        timers = self._sample(lambda: time.sleep(SECONDS_OF_TIMERS))[0].roots
        samples = [self._sample(act) for _ in range(SAMPLES)]
        for reactor, _ in samples:
            reactor.drop(timers)
        return min(samples, key=lambda traces: len(traces[0].calls))

    def _sample(self, act: Callable[[], None]) -> tuple[Trace, Trace]:
        time.sleep(SECONDS_TO_SETTLE)
        self._on_reactor(self.counter.begin)
        act()
        time.sleep(SECONDS_TO_SETTLE)
        self._on_reactor(self.counter.end)
        return self.counter.reactor, self.counter.others

    def _on_reactor(self, call: Callable[[], None]) -> None:
        done = Event()
        self.reactor.callFromThread(lambda: (call(), done.set()))
        done.wait()


def _request(client: Client) -> None:
    client.send(streaming=False)
    client.receive(MESSAGE)
