"""``twistd aibridge``: its command-line options, its service, and the end of its process."""

import asyncio
import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.application.service import IService
from twisted.internet import asyncioreactor
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python import usage

from . import __version__
from .commands.parsing import format_examples
from .commands.run_options import RUN_EXAMPLES, RUN_FLAGS, RUN_OPTIONS
from .config.environment import CONFIG_VARIABLE, VARIABLE_PREFIX
from .config.loader import load_config
from .config.model import DEMO_DATABASE
from .config.sources import KeyPath
from .errors import ConfigError
from .process_log import LogSettings, process_log

if TYPE_CHECKING:
    from .service.systemd import Report
    from .workers.supervisor import Supervisor

_log = Logger()

SETTINGS: dict[str, KeyPath] = {
    "listen": ("server", "listen"),
    "admin-listen": ("server", "admin_listen"),
    "database": ("database", "url"),
    "log-format": ("log", "format"),
    "workers": ("server", "workers"),
}
"""The configuration key that each option sets."""

_DEMO_SETTINGS: dict[str, tuple[KeyPath, str]] = {
    "--demo": (("database", "url"), DEMO_DATABASE),
    "--demo's spool": (("database", "spool_dir"), "aibridge-demo-spool"),
}

_LONGEST_STATUS = 100
"""Bytes that twistd reads of a daemon's report."""
_OPEN_FILES = 65_536
"""The limit to ask for. Programs that a gateway starts inherit it, and some of them try to close that many."""
_GC_THRESHOLD = 20_000
"""Allocated objects between two garbage collections."""


def whole_number(text: str) -> int | str:
    """Return a number as such; any other text is left to be refused where the setting is checked."""
    return int(text) if text.isascii() and text.isdigit() else text


class Options(usage.Options):
    """The command-line options. They override the configuration file, which overrides the environment."""

    synopsis = "[options]"
    longdesc = "Relays the requests of AI clients to AI providers, byte for byte, and records each with its user."
    optParameters = [
        [name, None, None, text, whole_number] if name == "workers" else [name, None, None, text]
        for name, text in RUN_OPTIONS.items()
    ]
    optFlags = [[name, None, text] for name, text in RUN_FLAGS.items()]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # This is the last moment to choose a reactor. `twistd --reactor` has installed its own already, which stays.
        if "twisted.internet.reactor" not in sys.modules:
            install_reactor()

    def getSynopsis(self) -> str:
        """Return the line of the help that says how the gateway is started."""
        if Path(sys.argv[0]).name == "aibridge":
            return "Usage: aibridge run [options]"
        return super().getSynopsis()

    def getUsage(self, width: int | None = None) -> str:
        """Return the help, with examples at its end."""
        program = "aibridge run" if Path(sys.argv[0]).name == "aibridge" else "twistd -n aibridge"
        lines = format_examples(*(f"{program} {example}" for example in RUN_EXAMPLES))
        return f"{super().getUsage(width)}\n{lines}\n"

    def parseOptions(self, options: Any = None) -> None:
        """Parse the options. Exit with one line if an option is wrong, as for any other wrong setting."""
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            exit_with_error(f"command line: {error}")

    def opt_version(self) -> NoReturn:
        """Display aibridge's version and exit."""
        sys.stdout.write(f"aibridge {__version__}\n")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Adapt twistd's own options.

        The log is written by the gateway's own observer, which is faster, knows JSON and opens its file again, unless
        another one is asked for. In the foreground no pidfile is written unless one is asked for: in a container a file
        that an earlier one left names a living process, often this one, and the working directory may be read-only.
        """
        twistd: Any = self.parent or {}
        if process_log.take_over(twistd):
            twistd["logger"] = "aibridge.process_log.process_log"
        in_foreground = twistd.get("nodaemon") or twistd.get("debug")
        if in_foreground and not any(argument.startswith("--pid") for argument in sys.argv):
            twistd["pidfile"] = ""

    def given(self) -> dict[str, tuple[KeyPath, Any]]:
        """Return each option that was given, with the configuration key that it sets and its value.

        The demo has a database of its own, so that none of its rows is among those of a real gateway.
        """
        given = {f"--{name}": (key, self[name]) for name, key in SETTINGS.items() if self[name] is not None}
        return given if not self["demo"] or self["database"] is not None else given | _DEMO_SETTINGS


class ProcessExit:
    """The end of the process: its signals and its exit status.

    twistd by itself would die of the signal that it was stopped with, and exit with status 0 after a failed start.

    :param stops: the signals that stop the service.
    """

    def __init__(self, reactor: Any, stops: Sequence[int] = (signal.SIGINT, signal.SIGTERM)) -> None:
        self._reactor = reactor
        self._stops = stops
        self._status = 0
        self._status_pipe: int | None = None
        atexit.register(self._exit)

    def take_signals(
        self, hurry: Callable[[], None], reload: Callable[[], object], reopen: Callable[[], object]
    ) -> None:
        """Handle the signals to stop, SIGHUP and SIGUSR1 from now on.

        The first signal to stop stops the service, which drains. The second calls `hurry`, so that only the records are
        waited for. The third kills the process. SIGHUP calls `reload`, SIGUSR1 `reopen`.
        """
        self._handle_signals(partial(self._stop, hurry))
        for name, handler in (("SIGHUP", reload), ("SIGUSR1", reopen)):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), partial(self._call, handler))

    def take_status_pipe(self, twistd: dict[str, Any]) -> None:
        """Take over the pipe on which a daemon tells the process that was called how its start went.

        twistd would say that all is well before anything has listened.
        """
        self._status_pipe, twistd["statusPipe"] = twistd.get("statusPipe"), None

    def report_started(self) -> None:
        """Let the process that was called exit with status 0: the daemon serves."""
        self._report(b"0")

    def fail(self, reason: str) -> None:
        """Stop the process with status 1, because the service could not start."""
        _log.critical("{reason}", reason=reason)
        _write_error(reason)
        self._report(f"1 {reason}".encode())
        self._status = 1
        self._reactor.callWhenRunning(self.stop_reactor)

    def stop_reactor(self) -> None:
        """Stop the reactor, unless it stops already."""
        with suppress(ReactorNotRunning):
            self._reactor.stop()

    def _report(self, status: bytes) -> None:
        pipe, self._status_pipe = self._status_pipe, None
        if pipe is not None:
            os.write(pipe, status[:_LONGEST_STATUS])
            os.close(pipe)

    def _call(self, handler: Callable[[], object], number: int, frame: object) -> None:
        self._reactor.callFromThread(handler)

    def _stop(self, hurry: Callable[[], None], number: int, frame: object) -> None:
        self._handle_signals(partial(self._hurry, hurry))
        self._reactor.callFromThread(self.stop_reactor)

    def _hurry(self, hurry: Callable[[], None], number: int, frame: object) -> None:
        self._handle_signals(signal.SIG_DFL)
        self._reactor.callFromThread(hurry)

    def _handle_signals(self, handler: Any) -> None:
        for number in self._stops:
            signal.signal(number, handler)

    def _exit(self) -> None:
        if self._status:
            sys.stdout.flush()
            os._exit(self._status)


def install_reactor() -> None:
    """Install the asyncio reactor, on an event loop of uvloop if that is installed. MCP servers need this reactor."""
    loops = import_module("uvloop") if find_spec("uvloop") else asyncio
    loop = loops.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)


def makeService(options: Options) -> IService:
    """Return the service for these options. It starts nothing yet."""
    from twisted.internet import reactor

    from .service.standalone import StandaloneGateway

    demo = None
    if options["demo"]:
        from .service.demo import DemoProvider

        demo = DemoProvider(reactor)
    try:
        own = {name: value for name, value in os.environ.items() if name.startswith(VARIABLE_PREFIX)}
        read_config = partial(load_config, config_file(options), own if demo else dict(os.environ), options.given())
        config = read_config()
    except ConfigError as error:
        exit_with_error(str(error))
    process_log.configure(config.log)
    if not process_log.is_used and config.log != LogSettings():
        _log.warn("log.format and log.level do not apply: twistd was given a log of another kind")
    process_exit = ProcessExit(reactor)
    make = StandaloneGateway if config.server.workers == 1 else supervisor_maker()
    service = make(
        config,
        reactor=reactor,
        on_failure=process_exit.fail,
        demo=demo,
        read_config=read_config,
        on_reload=lambda config: process_log.configure(config.log),
        on_start=partial(process_exit.take_status_pipe, options.parent if options.parent is not None else {}),
        on_started=process_exit.report_started,
    )
    reopen = process_log.reopen if isinstance(service, StandaloneGateway) else service.reopen_log
    reactor.callWhenRunning(process_exit.take_signals, service.hurry, service.reload, reopen)
    reactor.callWhenRunning(tune_garbage_collection)
    reactor.callWhenRunning(raise_file_limit)
    if path := os.environ.get("NOTIFY_SOCKET"):
        notify_systemd(path, service.report, reactor)
    return service


def notify_systemd(path: str, report: "Report", reactor: Any) -> None:
    """Let systemd know when the gateway is ready and when it stops, as a unit of ``Type=notify`` wants."""
    from .service.systemd import SystemdNotifier

    notifier = SystemdNotifier(path, report, reactor)
    reactor.callWhenRunning(notifier.start)
    reactor.addSystemEventTrigger("before", "shutdown", notifier.stop)


def config_file(options: Options) -> str | None:
    """Return the path of the configuration's file, which stays valid if twistd changes its directory after the start.

    None if there is no file.
    """
    path = options["config"] or os.environ.get(CONFIG_VARIABLE)
    changes_directory = options.parent and options.parent.get("rundir", ".") != "."
    return str(Path(path).absolute()) if path and changes_directory else path


def supervisor_maker() -> "Callable[..., Supervisor]":
    """Return the maker of the parent of several workers."""
    from .workers.supervisor import Supervisor

    return partial(Supervisor, log=process_log)


def tune_garbage_collection() -> None:
    """Collect garbage seldom, and never look at the objects that exist since the start.

    An exchange leaves no reference cycles behind, so a collection finds next to nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)


def raise_file_limit() -> None:
    """Allow this process, and the workers that it starts, more open files. A stream takes two, its connections."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        _log.info("Up to {most} files and connections can be open at once; the limit was {soft}.", most=most, soft=soft)
    except (OSError, ValueError) as error:
        _log.warn("The limit of open files stays at {soft}: {reason}", soft=soft, reason=str(error))


def exit_with_error(message: str) -> NoReturn:
    """Exit with status 1 and one line on standard error, before anything is started."""
    _write_error(message)
    raise SystemExit(1)


def _write_error(message: str) -> None:
    # twistd may have redirected sys.stderr to the log. A daemon has no standard error.
    if sys.__stderr__ is not None:
        sys.__stderr__.write(" ".join(message.split()) + "\n")
        sys.__stderr__.flush()
