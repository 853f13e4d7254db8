"""Authenticators of a host program, in each of their forms."""

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from aibridge.errors import GatewayError, Unauthorized
from aibridge.identity.authenticate import as_function, identify
from aibridge.interfaces import Actor, IAuthenticator

ALICE = Actor("alice", {"team": "core"})


@implementer(IAuthenticator)
class Hosts:
    """A host program's authenticator."""

    def authenticate(self, request):
        return ALICE


async def _coroutine(request):
    return ALICE


async def _wait(step):
    return await step


class IdentifyTests(SynchronousTestCase):
    """The actor of a request, or none."""

    def asking(self, authenticate):
        return Deferred.fromCoroutine(identify(as_function(authenticate), None, _wait))

    def test_forms(self):
        """A value, a Deferred or a coroutine; a function or an authenticator."""
        for authenticate in (lambda request: ALICE, lambda request: succeed(ALICE), _coroutine, Hosts()):
            self.assertEqual(self.successResultOf(self.asking(authenticate)), ALICE)

    def test_later(self):
        """A Deferred is waited for."""
        answer = Deferred()
        asking = self.asking(lambda request: answer)
        self.assertNoResult(asking)
        answer.callback(ALICE)
        self.assertEqual(self.successResultOf(asking), ALICE)

    def test_nobody(self):
        """None, as a value or later, rejects the request."""
        for authenticate in (lambda request: None, lambda request: succeed(None)):
            self.failureResultOf(self.asking(authenticate), Unauthorized)

    def test_errors(self):
        """The client sees the message of a GatewayError, and nothing of any other error."""
        self.failureResultOf(self.asking(lambda request: fail(Unauthorized("expired"))), Unauthorized)
        for authenticate in (lambda request: {}["secret"], lambda request: fail(ValueError("secret"))):
            failure = self.failureResultOf(self.asking(authenticate), GatewayError)
            self.assertNotIn("secret", failure.value.message)
            self.assertEqual(failure.value.status, 500)
        self.assertEqual(len(self.flushLoggedErrors(KeyError, ValueError)), 2)
