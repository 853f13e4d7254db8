"""What the gateway costs beside nginx and a bare aiohttp proxy: ``python -m benchmarks``."""
