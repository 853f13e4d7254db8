"""Who asks, where what says so refuses, fails, or takes longer than its client waits."""

from typing import Any

from twisted.internet.defer import Deferred

from aibridge import Actor
from aibridge.errors import Unauthorized

from .apis import MESSAGES
from .client import Answer
from .gateway import ChainTestCase


class ActorTests(ChainTestCase):
    """Who asks, as a host says it; passed-through routes are asked for too."""

    def served(self, authenticate: Any, target: str = "/anthropic/v1/models", method: str = "GET") -> Answer:
        self.start(authenticate=authenticate)
        client = self.connect()
        client.send(method, target)
        self.network.wait(1)
        return client.answer

    def test_nobody_passes_through(self) -> None:
        """401 for passed-through routes too."""
        self.assertEqual((self.served(lambda request: None).status, self.network.attempts), (401, 0))

    def test_an_authenticator_that_refuses(self) -> None:
        """Its own error goes out."""

        def refuse(request: Any) -> None:
            raise Unauthorized("That key was revoked.")

        answer = self.served(refuse)
        self.assertEqual((answer.status, answer.json["error"]["message"]), (401, "That key was revoked."))

    def test_an_authenticator_that_fails(self) -> None:
        """A host's authenticator that breaks lets nobody in, and its client isn't left waiting."""
        for broken in (lambda request: 1 / 0, lambda request: _failing()):
            answer = self.served(broken)
            self.assertEqual((answer.status, self.network.attempts), (500, 0))
            self.assertNotIn("division", answer.body.decode())
            self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))

    def test_an_authenticator_with_a_wrong_result(self) -> None:
        """What is no actor, or one that records can't name, lets nobody in, and its client isn't left waiting."""
        for wrong in ("alice", True, Actor(7), Actor("")):  # type: ignore[arg-type]
            answer = self.served(lambda request, wrong=wrong: wrong)
            self.assertEqual((answer.status, answer.whole, self.network.attempts), (500, True, 0))

    def test_an_error_that_cannot_be_told(self) -> None:
        """A client whose refusal fails itself is cut off, not left waiting."""
        self.start()
        self.patch(self.bridge, "refusal", lambda *_: 1 / 0)
        client = self.connect()
        client.send("GET", "/nobody")
        self.network.wait(1)
        self.assertTrue(client.closed)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))

    def test_client_leaves_before_it_is_known(self) -> None:
        """Then nothing is asked of anyone, and nothing goes wrong."""
        knowing: Deferred[Any] = Deferred()
        self.start(authenticate=lambda request: knowing)
        client = self.ask(MESSAGES)
        self.network.settle()
        client.leave()
        self.network.settle()
        knowing.callback(Actor("late"))
        self.network.settle()
        self.assertEqual((self.network.attempts, self.bridge.in_flight), (0, 0))


def _failing() -> "Deferred[Any]":
    failing: Deferred[Any] = Deferred()
    failing.addCallback(lambda _: 1 / 0)
    failing.callback(None)
    return failing
