"""Claims tell which processes of this machine are alive."""

import os
import signal
import stat
import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from aibridge.record.claims import claim_dead_processes, is_alive, make_claim
from aibridge.record.values import new_id

HOLDS = """
import sys
from pathlib import Path
from uuid import UUID
from aibridge.record.claims import make_claim
claim = make_claim(Path(sys.argv[1]), UUID(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


class Holder(ProcessProtocol):
    """A process that holds a claim until it is killed."""

    def __init__(self) -> None:
        self.holds: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.holds.callback(None)

    def processEnded(self, reason: Failure) -> None:
        reason.trap(ProcessTerminated)
        self.ended.callback(None)


class ClaimTests(TestCase):
    """Claims in a new folder."""

    timeout = 30

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()) / "spool"

    def test_private(self) -> None:
        """Only its owner may look into the folder: it holds prompts."""
        claim = make_claim(self.folder, new_id())
        self.addCleanup(claim.discard)
        assert stat.S_IMODE(self.folder.stat().st_mode) == 0o700

    def test_alive(self) -> None:
        """The holder of a claim is alive, and nobody else gets the claim, not even in the same process."""
        claim = make_claim(self.folder, new_id())
        assert is_alive(self.folder, claim.process_id)
        assert list(claim_dead_processes(self.folder)) == []
        claim.discard()
        assert is_alive(self.folder, claim.process_id) is None
        assert list(self.folder.iterdir()) == []

    def test_elsewhere(self) -> None:
        """It is unknown whether a process without a claim here is alive."""
        assert is_alive(self.folder, new_id()) is None

    async def test_killed(self) -> None:
        """A killed process is known to be dead at once; one process only gets its claim, and may leave it to the next."""
        from twisted.internet import reactor

        holder, process_id = Holder(), new_id()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        arguments = [sys.executable, "-c", HOLDS, str(self.folder), str(process_id)]
        process = reactor.spawnProcess(holder, sys.executable, arguments, env=environment)  # type: ignore[attr-defined]
        await holder.holds
        assert is_alive(self.folder, process_id)
        process.signalProcess(signal.SIGKILL)
        await holder.ended
        assert is_alive(self.folder, process_id) is False
        (claim,) = claim_dead_processes(self.folder)
        assert claim.process_id == process_id
        assert list(claim_dead_processes(self.folder)) == []
        claim.release()
        (claim,) = claim_dead_processes(self.folder)
        claim.discard()
        assert list(claim_dead_processes(self.folder)) == []
