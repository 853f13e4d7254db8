"""What systemd is told."""

import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from aibridge.service.systemd import SystemdNotifier


class NotifierTests(SynchronousTestCase):
    """Messages on a socket like systemd's."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.report: dict[str, Any] = {"ready": False, "database": {"ready": False}, "providers": {"ready": True}}
        folder = TemporaryDirectory()  # the path of a socket must be short
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name, "notify"))

    def listen(self, address: str) -> Any:
        """Systemd's end."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        listener.bind(address)
        self.addCleanup(listener.close)
        return listener

    def received(self, listener: Any) -> list[str]:
        """The messages since the last look."""
        messages = []
        while True:
            try:
                messages.append(listener.recv(4096).decode())
            except BlockingIOError:
                return messages

    def notifier(self, path: str) -> SystemdNotifier:
        """A notifier of a gateway with that report."""
        return SystemdNotifier(path, lambda: succeed(self.report), self.clock)

    def test_ready(self) -> None:
        """It tells what it waits for, then that the gateway is ready, once, and at the end that it stops."""
        listener = self.listen(self.path)
        notifier = self.notifier(self.path)
        notifier.start()
        self.assertEqual(self.received(listener), ["STATUS=not ready: database"])
        self.clock.advance(1)
        self.assertEqual(self.received(listener), [])
        self.report = {"ready": True, "database": {"ready": True}}
        self.clock.advance(1)
        self.assertEqual(self.received(listener), ["READY=1\nSTATUS=ready"])
        self.clock.advance(60)
        self.assertEqual((self.received(listener), self.clock.getDelayedCalls()), ([], []))
        notifier.stop()
        self.assertEqual(self.received(listener), ["STOPPING=1"])

    def test_stopped_before(self) -> None:
        """A gateway that stops before it was ever ready says so, and looks no more."""
        listener = self.listen(self.path)
        notifier = self.notifier(self.path)
        notifier.start()
        notifier.stop()
        self.assertEqual(self.received(listener)[-1], "STOPPING=1")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_abstract(self) -> None:
        """A path that begins with @ is an abstract socket."""
        name = f"aibridge-test-{os.getpid()}"
        listener = self.listen(f"\0{name}")
        self.notifier(f"@{name}").stop()
        self.assertEqual(self.received(listener), ["STOPPING=1"])

    def test_nobody_listens(self) -> None:
        """Without a listener the gateway goes on, and its log says so."""
        with capturedLogs() as events:
            self.notifier(self.path).stop()
        self.assertEqual([event["what"] for event in events], ["STOPPING=1"])

    def test_slow_report(self) -> None:
        """A report that takes its time is waited for, and none is asked for beside it."""
        asked: list[Deferred[Any]] = []
        notifier = SystemdNotifier(self.path, lambda: asked.append(Deferred()) or asked[-1], self.clock)
        notifier.start()
        self.clock.advance(10)
        self.assertEqual(len(asked), 1)
        listener = self.listen(self.path)
        asked[0].callback({"ready": True})
        self.assertEqual(self.received(listener), ["READY=1\nSTATUS=ready"])
