"""Messages to systemd, for a unit of ``Type=notify``: https://www.freedesktop.org/software/systemd/man/sd_notify.html"""

import socket
from collections.abc import Awaitable, Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

Report = Callable[[], Awaitable[Mapping[str, object]]]
"""Returns the report that ``/readyz`` gives."""

EVERY = 0.25
"""Seconds between two looks, until the gateway is ready."""

_log = Logger()


class SystemdNotifier:
    """Tells systemd when the gateway is ready, and when it begins to stop.

    :param path: the variable ``NOTIFY_SOCKET``: a socket in the file system, or behind ``@`` an abstract one.
    """

    def __init__(self, path: str, report: Report, clock: IReactorTime) -> None:
        self._path = path
        self._report = report
        self._sent = ""
        self._call = LoopingCall(lambda: Deferred.fromCoroutine(self._look()))
        self._call.clock = clock

    def start(self) -> None:
        """Look at the gateway until it is ready."""
        self._call.start(EVERY).addErrback(lambda failure: _log.failure("systemd is not told more", failure))

    def stop(self) -> None:
        """Tell that the gateway stops."""
        if self._call.running:
            self._call.stop()
        self._send("STOPPING=1")

    async def _look(self) -> None:
        report = await self._report()
        if report["ready"]:
            self._send("READY=1\nSTATUS=ready")
            if self._call.running:
                self._call.stop()
        else:
            parts = [name for name, part in report.items() if isinstance(part, Mapping) and not part["ready"]]
            self._send(f"STATUS=not ready: {', '.join(parts)}" if parts else "STATUS=starting")

    def _send(self, message: str) -> None:
        if message == self._sent:
            return
        self._sent = message
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto(message.encode(), address)
        except OSError as error:
            _log.warn("systemd can't be told {what}: {why}", what=message.split("\n")[0], why=error.strerror)
