"""Counts the calls that a request and a streamed event make in the gateway: ``python -m benchmarks.calls``."""
