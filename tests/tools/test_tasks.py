"""Asyncio tasks as Deferreds, and what an import costs."""

import asyncio
import subprocess
import sys
from pathlib import Path

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

import aibridge
from aibridge.tools.mcp_session import Tasks

from .serving import LeavesNothing, turn


class TaskTests(LeavesNothing):
    """Coroutines of asyncio as Deferreds."""

    async def test_value_and_error(self) -> None:
        """The Deferred fires with the coroutine's result or error."""

        async def give(value: int) -> int:
            await asyncio.sleep(0)
            return 6 // value

        await turn()
        self.assertEqual(await Tasks().run(give(2)), 3)
        await self.assertFailure(Tasks().run(give(0)), ZeroDivisionError)

    async def test_cancelled(self) -> None:
        """Cancelling the Deferred cancels the task, which may clean up first; the error is Twisted's CancelledError."""
        steps: list[str] = []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                steps.append("tidied")

        await turn()
        tasks = Tasks()
        running = tasks.run(work())
        await turn()
        running.cancel()
        await self.assertFailure(running, CancelledError)
        self.assertEqual(steps, ["tidied"])

    async def test_all_ended(self) -> None:
        """`ended` waits for all tasks, whether they succeed or fail."""

        async def fail() -> None:
            raise ValueError

        await turn()
        tasks = Tasks()
        failing, sleeping = tasks.run(fail()), tasks.run(asyncio.sleep(0.01))
        await tasks.ended()
        self.assertTrue(sleeping.called)
        await self.assertFailure(failing, ValueError)
        await tasks.ended()


class CostTests(SynchronousTestCase):
    """The cost for hosts without MCP servers."""

    def test_not_imported(self) -> None:
        """The ``mcp`` package is imported for the first server, and not before."""
        program = "import sys, aibridge; aibridge.make_toolbox([], None); sys.exit('mcp' in sys.modules)"
        self.assertEqual(
            subprocess.run([sys.executable, "-c", program], cwd=Path(aibridge.__file__).parents[1]).returncode, 0
        )
