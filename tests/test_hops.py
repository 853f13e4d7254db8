"""The length of a request's way through the gateway, in function calls."""

import json
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

MOST = {
    "small request": {"calls": 279, "files": 54, "deferreds": 7},
    "streamed event": {"calls": 10, "files": 8, "deferreds": 0},
}
"""Upper bounds for the reactor's thread. Lower them with every call that goes."""


class HopTests(SynchronousTestCase):
    """The real gateway, a client and a provider, on loopback sockets."""

    def test_calls(self) -> None:
        """Neither a small request nor a streamed event makes more calls, or passes through more files, than it did."""
        counted = subprocess.run(
            [sys.executable, "-m", "benchmarks.calls", "--json"],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(counted.returncode, 0, counted.stderr)
        for workload, figures in json.loads(counted.stdout).items():
            for name, most in MOST[workload].items():
                self.assertLessEqual(
                    figures[name], most, f"{name} of a {workload}; see python -m benchmarks.calls --list"
                )
