"""The promises of every `IRecorder`. Mix it into a TestCase that makes a recorder and can read what it kept."""

from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults
from zope.interface.verify import verifyObject

from aibridge.interfaces import IAnswerIndex, IBatchRecorder, IObjectIndex, IOnDemandRecorder, IRecorder
from aibridge.record.records import (
    CANCELLED,
    InterceptionRecord,
    InterceptionRecordEnded,
    Owner,
    PromptUsageRecord,
    Record,
    StoredObjectRecord,
    TokenUsageRecord,
    ToolUsageRecord,
)
from aibridge.record.values import new_id, utc_now

from .samples import ended, exchange, interception, prompt, token_usage, tool_usage


def record(recorder: Any, value: Record) -> "Deferred[None]":
    """Hand a record to its own method."""
    result: Deferred[None] = getattr(recorder, value.storage.method)(value)
    return result


class RecorderContract:
    """``self.recorder`` is the recorder, ``self.kept(kind)`` the records of a class that it has made durable."""

    recorder: Any
    kept: Callable[[type[Record]], list[Record]]

    async def keep(self, *values: Record) -> None:
        for value in values:
            await record(self.recorder, value)

    def test_interfaces(self) -> None:
        """The recorder provides the interface, and those beside it that it declares, with their signatures."""
        verifyObject(IRecorder, self.recorder)
        for interface in (IBatchRecorder, IAnswerIndex, IObjectIndex, IOnDemandRecorder):
            if interface.providedBy(self.recorder):
                verifyObject(interface, self.recorder)

    async def test_owners(self) -> None:
        """The owner of a response is its interception's actor, that of another object who has made it."""
        if not IObjectIndex.providedBy(self.recorder):
            return
        begun = interception(initiator_id="ann", provider_name="mine", credential_hint="sk-a...bc")
        await self.keep(begun, token_usage(begun.id, provider_response_id="resp_1"))
        made = StoredObjectRecord(
            id=new_id(),
            object_id="file_1",
            provider_name="mine",
            initiator_id="bob",
            credential_hint=None,
            created_at=utc_now(),
        )
        await self.recorder.record_object(made)
        questions = [("mine", "resp_1"), ("mine", "file_1"), ("other", "resp_1"), ("other", "file_1"), ("mine", "x")]
        found = [await self.recorder.find_owner(*question) for question in questions]
        assert found == [Owner("ann", "sk-a...bc"), Owner("bob", None), None, None, None]
        for odd in ("a\0\ud800", "a" * 3000):
            assert await self.recorder.find_owner("mine", odd) is None
            await self.keep(token_usage(begun.id, provider_response_id=odd))
            assert await self.recorder.find_owner("mine", odd) == found[0]

    async def test_values(self) -> None:
        """When the Deferred of a record has fired, the record is kept, with each of its values."""
        for value in exchange():
            await self.keep(value)
            assert self.kept(type(value)) == [value]

    async def test_not_waited_for(self) -> None:
        """Records of many exchanges that nobody waits for one by one are all kept."""
        values = [value for _ in range(20) for value in exchange()]
        await gatherResults([record(self.recorder, value) for value in values])
        for kind in {type(value) for value in values}:
            expected = [value for value in values if type(value) is kind]
            assert sorted(self.kept(kind), key=lambda r: r.id) == sorted(expected, key=lambda r: r.id)

    async def test_at_once(self) -> None:
        """A recorder that takes the records of a step together keeps each of them."""
        if not IBatchRecorder.providedBy(self.recorder):
            return
        begun, *others, over = exchange()
        await self.recorder.record_all([begun])
        await self.recorder.record_all([*others, over])
        for value in (begun, *others, over):
            assert self.kept(type(value)) == [value]

    async def test_replaced(self) -> None:
        """A record whose id was recorded before replaces that one."""
        begun = interception()
        early = token_usage(begun.id, output_tokens=1, metadata={"complete": False})
        final = evolve(early, output_tokens=99, metadata={"complete": True})
        await self.keep(begun, early, final)
        assert self.kept(TokenUsageRecord) == [final]

    async def test_replaced_at_once(self) -> None:
        """Of several records of one id that come together, the last one stays."""
        begun = interception()
        early = token_usage(begun.id, output_tokens=1)
        versions = [evolve(early, output_tokens=figure) for figure in range(5)]
        await gatherResults([record(self.recorder, value) for value in (begun, *versions)])
        assert self.kept(TokenUsageRecord) == [versions[-1]]

    async def test_replayed(self) -> None:
        """An exchange recorded twice is there once; an interception that has ended stays ended."""
        values = exchange()
        await self.keep(*values, *values[:-1])
        for value in values:
            assert self.kept(type(value)) == [value]

    async def test_ended_anew(self) -> None:
        """The last record of an interception's end counts, and its beginning is untouched."""
        begun = interception()
        last = ended(begun.id, status=CANCELLED, http_status=None, error="client gone")
        await self.keep(begun, ended(begun.id), last)
        assert self.kept(InterceptionRecordEnded) == [last]
        assert self.kept(InterceptionRecord) == [begun]

    async def test_nothing_kept(self) -> None:
        """Contents that are None stay None: a prompt, arguments, a result, a response's id."""
        begun = interception(credential_hint=None, client_session_id=None, metadata={})
        asked = prompt(begun.id, prompt=None, provider_response_id=None)
        called = tool_usage(begun.id, input=None, output=None, tool_call_id=None, duration_ms=None)
        await self.keep(begun, asked, called)
        assert self.kept(InterceptionRecord) == [begun]
        assert self.kept(PromptUsageRecord) == [asked]
        assert self.kept(ToolUsageRecord) == [called]
