"""The cost of recording, in each database and with a long history: ``python -m benchmarks.recording``."""
