"""What fuzzing began with, and what it found: it stays found."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from .__main__ import CORPUS
from .targets import TARGETS


class CorpusTests(SynchronousTestCase):
    """Every sample, through its target."""

    def test_every_sample(self) -> None:
        """None breaks a promise."""
        for name, target in TARGETS.items():
            samples = [path for path in Path(CORPUS / name).iterdir() if path.is_file()]
            self.assertTrue(samples, name)
            for sample in samples:
                target(sample.read_bytes())
