"""A thread that does one thing after the other, for the reactor."""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

T = TypeVar("T")


class Worker:
    """Makes calls in their order, on a thread of its own that begins with the first of them.

    Use it on the reactor's thread only.
    """

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._name = name
        self._calls: SimpleQueue[tuple[Callable[[], Any] | None, Deferred[Any]]] = SimpleQueue()
        self._thread: Thread | None = None

    def do(self, call: Callable[[], T]) -> "Deferred[T]":
        """What the call returns or raises. Cancelled, the call is still made; nobody hears of it."""
        if self._thread is None:
            # A daemon: a call that hangs must not keep the program from ending.
            self._thread = Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        done: Deferred[T] = Deferred()
        self._calls.put((call, done))
        return done

    def stop(self) -> "Deferred[bool]":
        """True, when all calls have been made and the thread has ended. It does not begin again."""
        if self._thread is None:
            return succeed(True)
        done: Deferred[bool] = Deferred()
        self._calls.put((None, done))
        return done.addCallback(self._join)

    def _join(self, ended: bool) -> bool:
        assert self._thread is not None
        self._thread.join()
        return ended

    def _run(self) -> None:
        result: Any
        while True:
            call, done = self._calls.get()
            if call is None:
                break
            try:
                result = call()
            except BaseException:  # it is the caller's, as in any Deferred
                result = Failure()
            self._reactor.callFromThread(done.callback, result)
            del call, done, result  # an idle thread holds on to no rows
        self._reactor.callFromThread(done.callback, True)
