"""``twistd aibridge``: its options, and the service that they ask for."""

import asyncio
import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NoReturn

from twisted.application.service import IService
from twisted.internet import asyncioreactor
from twisted.logger import Logger
from twisted.python import usage

from . import __version__
from .config.model import load_config
from .config.sources import KeyPath
from .errors import ConfigError

log = Logger()


SETTINGS: dict[str, KeyPath] = {
    "listen": ("server", "listen"),
    "admin-listen": ("server", "admin_listen"),
    "database": ("database", "url"),
}
"""The setting that each option sets."""

_OBJECTS_BETWEEN_COLLECTIONS = 20_000


class Options(usage.Options):
    """What can be said on the command line. It beats the file, and the file beats the environment."""

    synopsis = "[options]"
    longdesc = "Intercepts what AI clients ask of AI providers, records it per user, and hands on every byte unchanged."
    optParameters = [
        ["config", None, None, "TOML file with the configuration. [default: none]"],
        ["listen", None, None, "Endpoint of the gateway. [default: tcp:8080:interface=127.0.0.1]"],
        [
            "admin-listen",
            None,
            None,
            "Endpoint of the operator's site, or off. [default: tcp:8081:interface=127.0.0.1]",
        ],
        ["database", None, None, "SQLAlchemy URL of the records. [default: sqlite:///aibridge.sqlite]"],
    ]
    optFlags = [["demo", None, "Answer with a built-in fake provider: no key is needed."]]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # The last moment to choose a reactor that asyncio's libraries run on too. One that was asked for is left.
        if "twisted.internet.reactor" not in sys.modules:
            install_reactor()

    def parseOptions(self, options: Any = None) -> None:
        """A wrong option is told like any other wrong setting."""
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            give_up(f"command line: {error}")

    def opt_version(self) -> NoReturn:
        """Display aibridge's version and exit."""
        sys.stdout.write(f"aibridge {__version__}\n")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """What twistd would log to standard output goes there by a shorter way."""
        twistd: Any = self.parent or {}
        elsewhere = [twistd.get(name) for name in ("logger", "logfile", "syslog")]
        if twistd.get("nodaemon") and not any(elsewhere):
            twistd["logger"] = "aibridge.logs.text_on_stdout"

    def given(self) -> dict[str, tuple[KeyPath, str]]:
        """Each option that was given, with the key that it sets and its value."""
        return {f"--{name}": (key, self[name]) for name, key in SETTINGS.items() if self[name] is not None}


class ProcessExit:
    """How the process ends. Left to itself, twistd dies of the signal that ends it, and fails with status 0."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._status = 0
        atexit.register(self._exit)

    def take_signals(self, hurry: Callable[[], None]) -> None:
        """The first signal drains. The second calls `hurry`, to wait for nothing but the records; a third one kills."""
        self._on_signals(partial(self._first, hurry))

    def fail(self, why: str) -> None:
        """The service could not start."""
        log.critical("{why}", why=why)
        _tell(why)
        self._status = 1
        self._reactor.callWhenRunning(self._reactor.stop)

    def _first(self, hurry: Callable[[], None], number: int, frame: object) -> None:
        self._on_signals(partial(self._second, hurry))
        self._reactor.callFromThread(self._reactor.stop)

    def _second(self, hurry: Callable[[], None], number: int, frame: object) -> None:
        self._on_signals(signal.SIG_DFL)
        self._reactor.callFromThread(hurry)

    def _on_signals(self, handler: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, handler)

    def _exit(self) -> None:
        if self._status:
            sys.stdout.flush()
            os._exit(self._status)


def install_reactor() -> None:
    """The asyncio reactor, on uvloop's loop where that is installed."""
    loops = import_module("uvloop") if find_spec("uvloop") else asyncio
    loop = loops.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)


def makeService(options: Options) -> IService:
    """The service that the options ask for; it begins nothing yet."""
    from twisted.internet import reactor

    from .service.demo import DemoProvider
    from .service.standalone import StandaloneGateway

    demo = DemoProvider(reactor) if options["demo"] else None
    try:
        config = load_config(options["config"], {} if demo else os.environ, options.given())
    except ConfigError as error:
        give_up(str(error))
    ending = ProcessExit(reactor)
    service = StandaloneGateway(config, reactor=reactor, on_failure=ending.fail, demo=demo)
    reactor.callWhenRunning(ending.take_signals, service.hurry)
    reactor.callWhenRunning(spare_the_collector)
    return service


def spare_the_collector() -> None:
    """Have garbage collected seldom, and never among what is there from the start.

    An exchange leaves no circle of references behind, so that there is next to none to find.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 20, 20)


def give_up(why: str) -> NoReturn:
    """Nothing has begun: one line, and the end."""
    _tell(why)
    raise SystemExit(1)


def _tell(why: str) -> None:
    # sys.stderr may have become the log by now; a daemon has none.
    if sys.__stderr__ is not None:
        sys.__stderr__.write(" ".join(why.split()) + "\n")
        sys.__stderr__.flush()
