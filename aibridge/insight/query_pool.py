"""Threads and connections of their own for questions, so that a slow one never holds up a commit of the recorder.

Nothing is started or connected before the first question. Every question sees one state of the database, can't change
it, and ends after `timeout` seconds.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from ..errors import AIBridgeError
from ..record.database import describe, engine_arguments, printable
from ..record.urls import parse_url

T = TypeVar("T")

THREADS = 4
"""The most questions that are answered at the same time; others wait for one of these."""

_STEPS = 2_000_000
"""Steps of SQLite's virtual machine between two looks at the clock: some hundredths of a second. A look needs Python's
lock, which the reactor's thread needs too."""

_QUERY_CANCELED = "57014"
"""https://www.postgresql.org/docs/15/errcodes-appendix.html"""


class QueryTooSlow(AIBridgeError):
    """A question took longer than it may."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The query took longer than {seconds:g} s. Narrow the span of time or the filter.")


class QueryFailed(AIBridgeError):
    """The database could not answer a question."""


class QueryPool:
    """Answers questions on threads of its own. Use it on the reactor's thread only.

    :param timeout: seconds that a statement may take.
    :param observe: called with the name of each question and the seconds that it took.
    """

    def __init__(
        self,
        url: str,
        reactor: Any,
        *,
        timeout: float = 5.0,
        observe: Callable[[str, float], None] = lambda name, seconds: None,
    ) -> None:
        self.url = url
        self._reactor = reactor
        self._timeout = timeout
        self._observe = observe
        self._threads: ThreadPool | None = None
        self._engine: Engine | None = None

    def ask(self, name: str, question: Callable[[Connection], T]) -> "Deferred[T]":
        """Fires with what the question, a function of a connection, returns.

        Fails with `QueryTooSlow`, with `QueryFailed`, or with the question's own error.
        """
        begun = monotonic()
        if self._engine is None:
            self._engine = open_limited_reader(self.url, self._timeout)
        engine = self._engine

        def answer() -> T:
            with _plain_errors(self.url, self._timeout), engine.connect() as connection, connection.begin():
                return question(connection)

        def observe(result: T) -> T:
            self._observe(name, monotonic() - begun)
            return result

        return self.run(answer).addBoth(observe)

    def run(self, call: Callable[[], T]) -> "Deferred[T]":
        """Make any other blocking call on one of the threads."""
        if self._threads is None:
            self._threads = ThreadPool(minthreads=0, maxthreads=THREADS, name="aibridge-queries")
            self._threads.start()
        done: Deferred[T] = deferToThreadPool(self._reactor, self._threads, call)
        return done

    def stop(self) -> None:
        """End the threads, once their present calls are done, and close the connections. It can be used again."""
        if self._threads is not None:
            self._threads.stop()
            self._threads = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None


def open_limited_reader(url: str, timeout: float) -> Engine:
    """Return an engine whose transactions read only, see one state of the database, and stop slow statements."""
    parsed = parse_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    arguments = {"isolation_level": None, "timeout": timeout} if is_sqlite else engine_arguments(parsed)
    engine = create_engine(
        parsed,
        connect_args=arguments,
        hide_parameters=True,
        pool_size=THREADS,
        max_overflow=0,
        pool_pre_ping=not is_sqlite,
    )

    def begin(connection: Connection) -> None:
        if is_sqlite:
            ends_at = monotonic() + timeout
            driver: Any = connection.connection.driver_connection
            driver.set_progress_handler(lambda: monotonic() > ends_at, _STEPS)
            connection.exec_driver_sql("PRAGMA query_only = ON")
            connection.exec_driver_sql("BEGIN")
        else:
            # In the transaction, because a pooler such as PgBouncer may give each transaction another session.
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {max(1, round(timeout * 1000))}")

    event.listen(engine, "begin", begin)
    return engine


@contextmanager
def _plain_errors(url: str, timeout: float) -> Iterator[None]:
    """Turn the database's errors into those of questions. They never quote a row."""
    try:
        yield
    except DBAPIError as error:
        code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None)
        if code in (_QUERY_CANCELED, "SQLITE_INTERRUPT"):
            raise QueryTooSlow(timeout) from None
        raise QueryFailed(f"The database {printable(url)} can't answer: {describe(error)}.") from None
