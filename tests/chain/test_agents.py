"""The same gateway over Twisted's own agent, which a host may give it in the place of the gateway's."""

from typing import Any

from twisted.web.client import Agent, HTTPConnectionPool

from .apis import CHAT, MESSAGES, RESPONSES
from .gateway import ChainTestCase
from .test_circuits import CircuitContract
from .test_departures import DepartureContract
from .test_durability import StreamContract
from .test_exchange import ExchangeContract
from .test_faults import FaultContract


class TwistedAgentTestCase(ChainTestCase):
    """A bridge that was given an agent, which is the host's to close."""

    def setUp(self) -> None:
        self.pools: list[HTTPConnectionPool] = []
        super().setUp()

    def start(self, providers: dict[str, Any] | None = None, **settings: Any) -> None:
        self.pools.append(HTTPConnectionPool(self.network))
        agent = Agent(self.network, pool=self.pools[-1], connectTimeout=10)
        super().start(providers, agent=agent, **settings)

    def stop(self) -> None:
        for pool in self.pools:
            pool.closeCachedConnections()
        super().stop()


class ExchangeTests(ExchangeContract, TwistedAgentTestCase):
    api = MESSAGES


class DurabilityTests(StreamContract, TwistedAgentTestCase):
    api = CHAT


class FaultTests(FaultContract, TwistedAgentTestCase):
    api = RESPONSES


class CircuitTests(CircuitContract, TwistedAgentTestCase):
    api = MESSAGES


class DepartureTests(DepartureContract, TwistedAgentTestCase):
    api = MESSAGES
