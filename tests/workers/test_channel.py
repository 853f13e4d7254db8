"""What parent and worker tell each other."""

import pickle
from functools import partial
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.config.loader import configure, load_config
from aibridge.config.sources import ConfigSources
from aibridge.process_log import ProcessLog
from aibridge.providers import PROVIDER_TYPES
from aibridge.workers.channel import MessageReader, WorkerSetup, write_message

PROVIDERS = {
    "anthropic": {"circuit_breaker": {}},
    "openai": {"api_keys": ["sk-1", "sk-2"]},
    "azure": {"base_url": "https://x.openai.azure.com"},
    "bedrock": {"region": "us-east-1"},
    "copilot": {},
    "foundry": {"base_url": "https://x.services.ai.azure.com"},
    "vertex": {"project": "p", "region": "us-east5"},
}
"""A provider of each type."""

json_values = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.lists(st.text(max_size=9), max_size=3)


class SetupTests(SynchronousTestCase):
    """The configuration that a worker is given."""

    def test_as_the_parents(self) -> None:
        """It is the parent's, whatever is configured."""
        self.assertEqual(PROVIDERS.keys(), PROVIDER_TYPES.keys())
        table = {
            "providers": {f"my-{name}": {"type": name, **keys} for name, keys in PROVIDERS.items()},
            "mcp": {"a": {"url": "http://a.test/mcp"}, "b": {"transport": "stdio", "command": "x"}},
            "limits": {"concurrent": 3},
        }
        config = configure(ConfigSources(table, "test"))
        read = partial(load_config, None, {"AIBRIDGE_SERVER__WORKERS": "2"}, {})
        setup = WorkerSetup(
            number=1, config=config, read_config=read, demo_url="", reactor="x", log=ProcessLog().for_process()
        )
        received = pickle.loads(pickle.dumps(setup))
        self.assertEqual(received.config, config)
        self.assertEqual(received.read_config().server.workers, 2)


class ChannelTests(SynchronousTestCase):
    """What is written, and what is read of it."""

    @settings(suppress_health_check=[HealthCheck.too_slow])  # it reads the whole package, for its constants
    @given(st.lists(json_values, max_size=4), st.lists(st.integers(0, 200), max_size=4))
    def test_pieces(self, values: list[object], cuts: list[int]) -> None:
        """Messages arrive whole and in order, wherever the pipe cuts their bytes."""
        data = b"".join(write_message(told="x", value=value) for value in values)
        ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        reader = MessageReader()
        read = [message for begin, end in pairwise(ends) for message in reader.feed(data[begin:end])]
        self.assertEqual(read, [{"told": "x", "value": value} for value in values])
