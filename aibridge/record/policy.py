"""The operator's choice of contents that are kept, and a recorder that applies it."""

from collections.abc import Sequence
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from .. import settings
from ..interfaces import IAnswerIndex, IBatchRecorder, IBudgets, IObjectIndex, IOnDemandRecorder, IRecorder
from .batches import batch_writer
from .records import RECORD_TYPES, OpenAnswer, Owner, Record, StoredObjectRecord


@frozen(kw_only=True)
class ContentPolicy:
    """The contents that are kept. Others are NULL in their columns; the row remains, because it counts."""

    prompts: bool = settings.switch(True)
    tool_arguments: bool = settings.switch(True)
    tool_results: bool = settings.switch(False)
    """Results of injected tools; the gateway never sees the client's own results as such."""
    thoughts: bool = settings.switch(True)

    def excluded(self, record_type: type[Record]) -> dict[str, None]:
        """Return the fields of these records that are not kept, each with None, the value that replaces it."""
        contents = record_type.storage.contents.items()
        return {name: None for name, setting in contents if setting is not None and not getattr(self, setting)}


@implementer(IRecorder, IBatchRecorder, IAnswerIndex, IObjectIndex, IOnDemandRecorder)
class FilteredRecorder:
    """Any recorder, without the contents that the policy excludes."""

    def __init__(self, recorder: IRecorder, policy: ContentPolicy) -> None:
        self._recorder = recorder
        self._excluded: dict[type[Record], dict[str, Any]] = {
            record_type: names for record_type in RECORD_TYPES if (names := policy.excluded(record_type))
        }
        self._record_all = batch_writer(recorder)

    def __conform__(self, interface: Any) -> Any:
        """Return the recorder behind this one for `IBudgets`: what begins has no contents to exclude."""
        return IBudgets(self._recorder, None) if interface is IBudgets else None

    def record_all(self, records: Sequence[Record]) -> "Deferred[None]":
        """See `IBatchRecorder`."""
        for record in records:
            if type(record) in self._excluded:
                return self._record_all([evolve(each, **self._excluded.get(type(each), {})) for each in records])
        return self._record_all(records)

    def _record(self, record: Record) -> "Deferred[None]":
        """See `IRecorder`."""
        return self.record_all((record,))

    record_interception = record_interception_ended = record_token_usage = _record
    record_prompt_usage = record_tool_usage = record_model_thought = _record

    def find_open_answer(self, provider_response_id: str) -> "Deferred[OpenAnswer | None]":
        """See `IAnswerIndex`; None if the recorder behind this one keeps no index."""
        if not IAnswerIndex.providedBy(self._recorder):
            return succeed(None)
        return IAnswerIndex(self._recorder).find_open_answer(provider_response_id)

    def record_object(self, record: StoredObjectRecord) -> "Deferred[None]":
        """See `IObjectIndex`; nothing if the recorder behind this one keeps no such index."""
        index = IObjectIndex(self._recorder, None)
        return succeed(None) if index is None else index.record_object(record)

    def find_owner(self, provider_name: str, object_id: str) -> "Deferred[Owner | None]":
        """See `IObjectIndex`; None if the recorder behind this one keeps no such index."""
        index = IObjectIndex(self._recorder, None)
        return succeed(None) if index is None else index.find_owner(provider_name, object_id)

    def release(self) -> "Deferred[None]":
        """See `IOnDemandRecorder`."""
        if not IOnDemandRecorder.providedBy(self._recorder):
            return succeed(None)
        return IOnDemandRecorder(self._recorder).release()
