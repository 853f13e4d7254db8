"""The settings of a recorder and of a content policy, as a host program gives them."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from aibridge.recorder import ContentPolicy, SQLRecorder

WRONG: dict[str, tuple[Any, ...]] = {
    "url": ("hunter2", "mysql://u:hunter2@h/db", "postgresql+psycopg://u:p@hunter2:hunter2/db", None),
    "spool_dir": ("", 5),
    "spool_max_bytes": (0, "1GB"),
    "commit_timeout": (0.0, -1, "5"),
    "retention_days": (-1, 100_000, 0.5, True),
}


class HostTests(SynchronousTestCase):
    """Keyword arguments."""

    def test_recorder(self) -> None:
        """A recorder's argument that can't be used is a ValueError that names it, and never a password."""
        for name, values in WRONG.items():
            for value in values:
                error = self.assertRaises(ValueError, SQLRecorder, **{"url": "sqlite://", name: value})
                self.assertTrue(str(error).startswith(f"{name}: "), str(error))
                self.assertNotIn("hunter2", str(error))

    def test_policy(self) -> None:
        """A policy's contents are switched by true and false only."""
        for name in ("prompts", "tool_arguments", "tool_results", "thoughts"):
            error = self.assertRaises(ValueError, ContentPolicy, **{name: "no"})
            self.assertEqual(str(error), f"{name}: must be true or false, not a string")
