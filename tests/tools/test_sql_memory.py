"""The memory of conversations in the recorder's database."""

from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from aibridge.recorder import SQLMemory, SQLRecorder
from aibridge.tools.toolset import Remembered, Toolset
from aibridge.wire.history import HiddenRound, Turn


class SQLMemoryTests(TestCase):
    """Remembered turns are found again, by another process too."""

    async def test_any_text(self) -> None:
        """Whatever characters ids and texts have, lone surrogates and NUL among them, a turn stays the same."""
        any_reactor: Any = reactor
        url = f"sqlite:///{self.mktemp()}.sqlite"
        recorder = SQLRecorder(url, reactor=any_reactor)
        recorder.startService()
        self.addCleanup(recorder.stopService)
        for odd in ("plain", "é\U0001f600", "\0", "\ud800"):
            hidden = HiddenRound(b'["\\ud800 \xc3\xa9"]', b'["\\u0000"]', ((odd, "part"), ()))
            turn = Turn((f"text {odd}", "other"), (hidden,), client_id=odd, provider_id=f"msg_{odd}")
            remembered = Remembered("alice", "anthropic", Toolset(()), turn)
            await SQLMemory(url, recorder, any_reactor).remember(remembered)
            [found] = await SQLMemory(url, recorder, any_reactor).recall("alice", "anthropic", [f"text {odd}"])
            self.assertEqual(found.turn, turn)
