"""The writer: shared commits, bad rows, the bounded queue."""

from typing import Any

from twisted.internet.defer import Deferred, DeferredList, gatherResults

from aibridge.errors import RecordingError
from aibridge.record import migrations
from aibridge.record.database import open_engine
from aibridge.record.records import InterceptionRecordEnded, PromptUsageRecord, Record
from aibridge.record.writer import Writer

from .databases import OnSQLite, stored
from .samples import ended, exchange, interception, prompt, token_usage, tool_usage


class WriterTests(OnSQLite):
    """A writer on a new database; ``commits`` are the rows of each commit so far."""

    def setUp(self) -> None:
        super().setUp()
        migrations.upgrade(self.url)
        self.commits: list[int] = []
        self.writer = self.start(max_queued_rows=1000)

    def start(self, max_queued_rows: int) -> Writer:
        from twisted.internet import reactor

        engine = open_engine(self.url)
        writer = Writer(reactor, engine, max_queued_rows=max_queued_rows, observe=self.observe)
        writer.start()
        self.addCleanup(writer.stop)
        return writer

    def observe(self, seconds: float, rows: int) -> None:
        assert seconds > 0
        self.commits.append(rows)

    def write(self, *values: Record) -> list["Deferred[None]"]:
        return [self.writer.write(value) for value in values]

    async def outcomes(self, *values: Record) -> list[Any]:
        """For each record None, or the error that it failed with."""
        results = await DeferredList(self.write(*values), consumeErrors=True)
        return [None if fine else result.value for fine, result in results]

    async def test_shared(self) -> None:
        """What is recorded in one turn of the reactor shares one commit."""
        await gatherResults(self.write(*[value for _ in range(15) for value in exchange()]))
        assert self.commits == [90]

    async def test_next(self) -> None:
        """What comes while a commit runs forms the next one."""
        first = self.writer.write(interception())
        first.addCallback(lambda _: self.commits.append(0))
        self.writer._flush()  # the commit is on its way, as at the end of a turn
        await gatherResults([first, *self.write(interception(), interception())])
        assert self.commits == [1, 0, 2]

    async def test_queued(self) -> None:
        """The queue's length counts all that is not committed yet."""
        waiting = self.write(interception(), interception())
        assert self.writer.queued_rows == 2
        await gatherResults(waiting)
        assert self.writer.queued_rows == 0

    async def test_bounded(self) -> None:
        """A full queue refuses at once, and takes records again when it has room."""
        self.writer = self.start(max_queued_rows=2)
        taken = self.write(interception(), interception())
        refused = self.failureResultOf(self.writer.write(interception()), RecordingError)
        assert "2 rows are waiting" in str(refused.value)
        await gatherResults(taken)
        await self.writer.write(interception())

    async def test_bad_row(self) -> None:
        """A row that the database refuses fails alone, whatever shares its commit."""
        values = [value for _ in range(4) for value in exchange()]
        bad = token_usage(values[0].id, input_tokens=2**70)
        found = await self.outcomes(*values[:10], bad, *values[10:])
        assert [type(error) for error in found if error] == [RecordingError]
        assert str(bad.id) in str(found[10])
        assert len(stored(self.url, InterceptionRecordEnded)) == 4

    async def test_orphan(self) -> None:
        """A row without its interception is refused, and the error doesn't quote it."""
        begun = interception()
        bad = prompt(interception().id, prompt="a secret plan")
        fine, refused = await self.outcomes(begun, bad)
        assert fine is None
        assert "SQLITE_CONSTRAINT_FOREIGNKEY" in str(refused)
        assert "secret" not in repr(refused) + repr(refused.__cause__) + repr(refused.__context__)

    async def test_no_json(self) -> None:
        """Values that have no form in the database fail at once; their neighbours don't."""
        begun = interception()
        naive = token_usage(begun.id, created_at=begun.started_at.replace(tzinfo=None))
        strange = tool_usage(begun.id, input={"value": object()})
        infinite = tool_usage(begun.id, input={"a\0": float("nan")})
        fine, *refused = await self.outcomes(begun, naive, strange, infinite)
        assert fine is None
        assert [type(error) for error in refused] == [RecordingError] * 3

    async def test_bad_beginning(self) -> None:
        """An interception that can't be stored takes its own rows along, and only those."""
        bad, fine = interception(initiator_id=None), interception()
        found = await self.outcomes(bad, prompt(bad.id), fine, prompt(fine.id))
        assert [error is None for error in found] == [False, False, True, True]
        assert len(stored(self.url, PromptUsageRecord)) == 1

    async def test_order(self) -> None:
        """An interception's end follows its beginning, in the same commit and in a later one."""
        for turns in (1, 2):
            begun = interception()
            last = ended(begun.id, upstream_requests=turns)
            if turns == 1:
                await gatherResults(self.write(begun, last))
            else:
                await self.writer.write(begun)
                await self.writer.write(last)
            assert last in stored(self.url, InterceptionRecordEnded)
