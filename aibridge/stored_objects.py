"""Objects that providers store for the configured credential, and the actors who made them.

All actors share that credential, so a provider can't tell them apart: the gateway keeps each actor from what others
have stored, by the records of who made it.
"""

from collections.abc import Iterable

from attrs import define, field, frozen

from .caches import LRUCache
from .client.routes import find_route
from .errors import NotStored, RecordingError, RecordingImpossible
from .interfaces import IObjectIndex, IProvider, IProviderPolicy, IRecorder
from .record.records import Owner, StoredObjectRecord
from .record.values import new_id, utc_now
from .wire.formats import PASS, Answer, Verdict
from .wire.jsontext import JsonObject, nonempty_str

_COLLECTIONS = frozenset(("batches", "conversations", "files", "responses", "vector_stores"))
_ACTIONS = frozenset(("compact", "input_tokens"))
"""Words that stand in the place of an id."""
_RESULTS = ("output_file_id", "error_file_id")
"""Members of a batch with the ids of the files that the provider makes for it."""
_UPLOADING = ("/v1/files", "/v1/batches", "/v1/messages/batches", "/v1/vector_stores")
"""The paths on which files and vector stores come about."""
_MAX_REMEMBERED = 20_000


@frozen
class StoragePath:
    """A path to a provider's storage: a collection, or one object of it."""

    collection: str
    object_id: str | None
    is_action: bool = False
    """True if a word stands in the place of the object's id: what the request is about, its body says."""

    @classmethod
    def read(cls, path: str) -> "StoragePath | None":
        """Return what a decoded path below the provider's name leads to; None for a path to anything else."""
        segments = [segment for segment in path.split("/") if segment]
        for number, segment in enumerate(segments):
            if segment in _COLLECTIONS:
                object_id = next(iter(segments[number + 1 :]), None)
                return cls(segment, None, is_action=True) if object_id in _ACTIONS else cls(segment, object_id)
        return None


@define(eq=False)
class StoredObjects:
    """The owners of the objects that one provider stores for the configured credential."""

    provider: str
    """The provider's name."""
    index: IObjectIndex
    guards: bool
    """True if actors are kept from each other's objects; False to know only which key or provider has an object."""
    has_uploads: bool
    """False if no file or vector store can have been made here: then bodies need not be searched for them."""
    _recent: LRUCache[str, Owner] = field(factory=lambda: LRUCache(_MAX_REMEMBERED), init=False)

    async def owner(self, object_id: str) -> Owner | None:
        """Return the owner of an object; None if no record tells. Raise `RecordingImpossible` if none can be read."""
        owner = self._recent.get(object_id)
        if owner is not None:
            return owner
        try:
            owner = await self.index.find_owner(self.provider, object_id)
        except RecordingError as error:
            raise RecordingImpossible("The records can't be read now. Try again in a moment.") from error
        if owner is not None:
            self._recent.set(object_id, owner)
        return owner

    async def record(self, object_id: str, owner: Owner) -> None:
        """Record who made an object on a passed route. Raise `RecordingError` if that can't be made durable."""
        record = StoredObjectRecord(
            id=new_id(),
            object_id=object_id,
            provider_name=self.provider,
            initiator_id=owner.initiator_id,
            credential_hint=owner.credential_hint,
            created_at=utc_now(),
        )
        await self.index.record_object(record)
        self._recent.set(object_id, owner)

    async def record_results(self, batch_id: str, file_ids: Iterable[str]) -> None:
        """Record that a batch's owner owns its results, too: the provider made them, so no request tells of them.

        A file that has an owner keeps them. Raise as `owner` and `record` do.
        """
        for file_id in file_ids:
            owner = await self.owner(batch_id)
            if owner is not None and await self.owner(file_id) is None:
                await self.record(file_id, owner)

    async def reach(self, path: StoragePath, method: bytes, actor: str) -> Owner | None:
        """Return the owner of the object that a request to a path is about, if it is known.

        Raise `NotStored` for an object of another actor, or of nobody that the records know, and for a list of all.
        """
        if path.object_id is None:
            if self.guards and method != b"POST":
                raise NotStored(f"Lists of {path.collection} are not available here: they would show those of others.")
            return None
        owner = await self.owner(path.object_id)
        if self.guards and (owner is None or owner.initiator_id != actor):
            raise NotStored(
                f"No {path.collection} object {path.object_id[:100]!r} was made by you through this gateway."
            )
        return owner

    async def use(self, object_ids: Iterable[str], actor: str) -> Owner | None:
        """Return the owner of the objects that a request goes on from or has in it, if one is known.

        Raise `NotStored` for another actor's. Of an object that no record tells of, its id is all that is needed.
        """
        found = None
        for object_id in object_ids:
            owner = await self.owner(object_id)
            if self.guards and owner is not None and owner.initiator_id != actor:
                raise NotStored(f"Nothing with the id {object_id[:100]!r} was made by you through this gateway.")
            found = found or owner
        return found


def guard_storage(
    provider: IProvider, recorder: IRecorder, has_actors: bool, is_fallback: bool
) -> StoredObjects | None:
    """Return the owners of what a provider stores; None if nobody needs to know them, or the recorder can't tell."""
    index = IObjectIndex(recorder, None)
    policy = IProviderPolicy(provider, None)
    if index is None or policy is None:
        return None
    guards = has_actors and not policy.shared_storage
    has_keepers = bool(policy.fallback) or is_fallback or len(policy.pooled_credentials) > 1
    if not (guards or has_keepers):
        return None
    has_uploads = any(find_route(provider, b"POST", path) is not None for path in _UPLOADING)
    return StoredObjects(provider.name, index, guards, has_uploads)


class ObjectReader:
    """Reads the id of an object that a request has made, or those of a batch's results. It never changes anything."""

    next_number = 0

    def __init__(self, objects: StoredObjects, batch_id: str | None = None) -> None:
        self.answer = Answer()
        self._objects = objects
        self._batch_id = batch_id
        """The id of the batch that is read; None if an object is made."""
        self._ids: list[str] = []

    def skips(self, frame: bytes) -> bool:
        """Return True: events name no object."""
        return True

    def read_event(self, data: bytes) -> Verdict:
        """Let an event pass."""
        return PASS

    def end(self, whole: bool) -> Verdict:
        """Let the end of a stream pass."""
        return PASS

    def read_body(self, body: JsonObject, raw: bytes) -> Verdict:
        """Read the ids."""
        members = ("id",) if self._batch_id is None else _RESULTS
        self._ids = [name for each in members if (name := nonempty_str(body.get(each))) is not None]
        self.answer.finished = True
        return PASS

    async def record(self, actor: Owner) -> None:
        """Record the owner of what was read: the actor of the request that made it, or the batch's owner.

        Raise `RecordingError` if that can't be made durable, `RecordingImpossible` if the records can't be read.
        """
        if self._batch_id is not None:
            await self._objects.record_results(self._batch_id, self._ids)
            return
        for object_id in self._ids:
            await self._objects.record(object_id, actor)
