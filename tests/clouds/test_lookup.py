"""Secrets that expire: when they are looked up, and who waits for it."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from aibridge.clouds import lookup
from aibridge.clouds.lookup import Found, Lookup, NothingFound
from aibridge.errors import NoCredentials


class LookupTests(SynchronousTestCase):
    """Look-ups that end when the test says so. The world's clock and the reactor's agree."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.running: list[tuple[Any, Deferred[Any]]] = []
        self.found: Any = Found("one", 1000.0)
        self.patch(lookup, "time", self.clock.seconds)
        self.patch(lookup, "in_thread", self.in_thread)
        self.lookup: Lookup[str] = Lookup("aws", self.look_up, self.clock)

    def look_up(self) -> Found[str]:
        if isinstance(self.found, Exception):
            raise self.found
        found: Found[str] = self.found
        return found

    def in_thread(self, reactor: Any, call: Any) -> "Deferred[Any]":
        """Keep the call until the test ends it."""
        self.assertIs(reactor, self.clock)
        self.running.append((call, Deferred()))
        return self.running[-1][1]

    def end(self) -> None:
        """End the one look-up that runs."""
        [(call, deferred)] = self.running
        self.running.clear()
        try:
            deferred.callback(call())
        except Exception:
            deferred.errback(Failure())

    def get(self) -> str:
        """The secret, which must be there at once."""
        return self.successResultOf(self.lookup.get())

    def refused(self) -> str:
        """The message of the error, which must be there at once."""
        return self.failureResultOf(self.lookup.get(), NoCredentials).value.message

    def test_shared(self) -> None:
        """All who need the secret at the same time share one look-up."""
        waiting = [self.lookup.get() for _ in range(3)]
        self.assertEqual(len(self.running), 1)
        self.end()
        self.assertEqual([self.successResultOf(each) for each in waiting], ["one"] * 3)
        self.assertEqual((self.get(), self.lookup.current(), self.running), ("one", "one", []))

    def test_renewed_ahead(self) -> None:
        """Five minutes before its end the next secret is looked up; until it is there, nobody waits."""
        self.lookup.start()
        self.end()
        self.clock.advance(699)
        self.assertEqual((self.get(), self.running), ("one", []))
        self.clock.advance(1)
        self.found = Found("two", 2000.0)
        self.assertEqual([self.get(), self.get()], ["one", "one"])
        self.end()
        self.assertEqual((self.get(), self.running), ("two", []))

    def test_expired(self) -> None:
        """After its end a secret is used no more: who needs it waits for the next one."""
        self.lookup.start()
        self.end()
        self.clock.advance(1000)
        waiting = self.lookup.get()
        self.assertNoResult(waiting)
        self.found = Found("two", 2000.0)
        self.end()
        self.assertEqual(self.successResultOf(waiting), "two")

    def test_short(self) -> None:
        """A secret whose end is near from the beginning is renewed soon, and used meanwhile."""
        self.found = Found("one", 60.0)
        self.lookup.start()
        self.end()
        self.assertEqual((self.get(), self.running), ("one", []))
        self.clock.advance(5)
        self.assertEqual((self.get(), len(self.running)), ("one", 1))

    def test_endless(self) -> None:
        """A secret without an end is looked up again after an hour: files change."""
        self.found = Found("one")
        self.lookup.start()
        self.end()
        self.clock.advance(3599)
        self.assertEqual((self.get(), self.running), ("one", []))
        self.clock.advance(1)
        self.assertEqual((self.get(), len(self.running)), ("one", 1))

    def test_doubted(self) -> None:
        """A secret that was refused is looked up again in the background of the next request, at most every 5 s."""
        self.lookup.start()
        self.end()
        self.lookup.doubt()
        self.assertEqual((self.get(), self.running), ("one", []))
        self.clock.advance(5)
        self.found = Found("two", 2000.0)
        self.assertEqual(self.get(), "one")
        self.end()
        self.assertEqual((self.get(), self.running), ("two", []))

    def test_nothing(self) -> None:
        """Without a secret every waiting request fails with the reason; another look-up begins after five seconds."""
        self.found = NothingFound("there is no profile")
        waiting = [self.lookup.get() for _ in range(2)]
        self.end()
        for each in waiting:
            error = self.failureResultOf(each, NoCredentials).value
            self.assertEqual((error.status, error.message), (503, "no credentials for aws: there is no profile."))
        self.assertEqual(self.lookup.problem, "there is no profile")
        self.assertIn("there is no profile", self.refused())
        self.assertEqual(self.running, [])
        self.clock.advance(5)
        self.found = Found("one", 2000.0)
        waiting = [self.lookup.get()]
        self.end()
        self.assertEqual((self.successResultOf(waiting[0]), self.lookup.problem), ("one", None))

    def test_other_words(self) -> None:
        """The words of other libraries may hold secrets: their errors' classes are shown alone."""
        self.found = ValueError("AKIASECRET")
        waiting = self.lookup.get()
        self.end()
        message = self.failureResultOf(waiting, NoCredentials).value.message
        self.assertEqual(message, "no credentials for aws: ValueError.")

    def test_late_failure(self) -> None:
        """A renewal that fails leaves the secret in use until its end."""
        self.lookup.start()
        self.end()
        self.clock.advance(700)
        self.found = NothingFound("the server is away")
        self.get()
        self.end()
        self.assertEqual((self.get(), self.lookup.problem, self.running), ("one", None, []))
        self.clock.advance(300)
        waiting = self.lookup.get()
        self.end()
        self.assertIn("away", self.failureResultOf(waiting, NoCredentials).value.message)

    def test_expired_when_found(self) -> None:
        """What has expired when it is found is no secret."""
        self.clock.advance(1000)
        waiting = self.lookup.get()
        self.end()
        self.assertIn("has expired", self.failureResultOf(waiting, NoCredentials).value.message)
