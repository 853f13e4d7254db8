"""The access of requests to one provider: the credential of each, and the stored objects that it may reach."""

from typing import TYPE_CHECKING

from attrs import frozen

from .errors import BadRequest
from .identity.clients import client_of, session_of
from .record.records import CENTRALIZED, Owner
from .stored_objects import StoragePath, StoredObjects
from .upstream.call import UpstreamCall
from .upstream.key_pool import Conversation, KeyPool
from .wire import jsontext
from .wire.stored_ids import continued_ids, names_objects, object_ids

if TYPE_CHECKING:
    from .client.request import ClientRequest, ModelRequest
    from .identity.credentials import Credential


@frozen
class Grant:
    """The credential of one request, and what holds for it."""

    credential: "Credential"
    conversation: Conversation | None = None
    """The conversation that keeps its key; None if there is no choice of keys."""
    pinned: bool = False
    """True if no other key can serve the request: the provider keeps what it goes on from for this one."""

    def apply(self, call: UpstreamCall) -> None:
        """Let a request use the keys that it may, and no others."""
        call.credential, call.conversation, call.pinned = self.credential, self.conversation, self.pinned


@frozen(eq=False)
class ProviderAccess:
    """The keys of one provider, and the owners of what it stores.

    A client's own credential is neither pooled nor guarded: the provider knows whose it is.
    """

    pool: KeyPool | None
    """The provider's keys, if it has several."""
    objects: StoredObjects | None
    """The owners of what is stored for the configured credential, if the recorder knows them."""
    chosen: "Credential | None" = None
    """The credential of all requests on a WebSocket, which was chosen when that was opened."""

    async def to_model(self, request: "ClientRequest", parsed: "ModelRequest", credential: "Credential") -> Grant:
        """Return what a request to a model is granted, which has this credential so far.

        Raise `NotStored` if it goes on from what another actor has stored.
        """
        if credential.kind != CENTRALIZED:
            return Grant(self.chosen or credential)
        continued, objects, owner = parsed.continued_ids, self.objects, None
        named = [*continued, *parsed.object_ids] if objects is not None and objects.has_uploads else continued
        if not (named or self.pool):
            return Grant(self.chosen or credential)
        if named and objects is not None:
            owner = await objects.use(named, request.actor.id)
        is_pinned = bool(continued) or owner is not None
        return self._grant(credential, (request.actor.id, parsed.session), owner, is_pinned)

    async def to_path(self, request: "ClientRequest", credential: "Credential") -> Grant:
        """Return what a request on a passed route is granted. Raise `NotStored` for what another actor has stored."""
        if credential.kind != CENTRALIZED:
            return Grant(credential)
        path, actor_id, owner = StoragePath.read(request.path.decoded), request.actor.id, None
        pinned = path is not None and path.object_id is not None
        if self.objects is not None:
            named = named_ids(request, path, self.objects.has_uploads)
            owner = await self.objects.use(named, actor_id)
            pinned = pinned or owner is not None or bool(named and path is not None and path.is_action)
            if path is not None and not path.is_action:
                owner = await self.objects.reach(path, request.request.method, actor_id) or owner
        fields = request.headers.by_name
        conversation = (actor_id, session_of(client_of(fields), fields, {}))
        return self._grant(credential, conversation, owner, pinned)

    def to_connection(self, request: "ClientRequest", credential: "Credential") -> "Credential":
        """Return the credential of a WebSocket, which all requests on it have."""
        if self.pool is None:
            return credential
        fields = request.headers.by_name
        conversation = (request.actor.id, session_of(client_of(fields), fields, {}))
        return self.pool.assign(credential, conversation, pinned=False)

    def _grant(self, credential: "Credential", conversation: Conversation, owner: Owner | None, pinned: bool) -> Grant:
        if self.pool is None or self.chosen is not None:
            return Grant(self.chosen or credential)
        hint = owner.credential_hint if owner is not None else None
        return Grant(self.pool.assign(credential, conversation, pinned, hint), conversation, pinned)


def named_ids(request: "ClientRequest", path: StoragePath | None, has_uploads: bool) -> list[str]:
    """Return the ids of stored objects that the body of a passed request names.

    Files and vector stores are looked for only if there may be any.

    Raise `BadRequest` for a body that is not JSON where only the body says what the request is about.
    """
    is_action = path is not None and path.is_action
    media_type = request.headers.by_name.get(b"content-type", [b""])[0].lower()
    # A body is read as JSON whatever its media type: the provider may do so, too.
    may_name = has_uploads and request.request.method == b"POST" and not media_type.startswith(b"multipart/")
    if not (is_action or may_name):
        return []
    body = request.peek_body()
    if not is_action and not names_objects(body):
        return []
    document = jsontext.load_object(body) if body else {}
    if document is None and is_action:
        raise BadRequest("The request body must be a JSON object.")
    document = document or {}
    return [*(continued_ids(document) if is_action else ()), *object_ids(body, document)]
