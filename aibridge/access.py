"""The access of requests to one provider: the credential of each, and the stored objects that it may reach."""

from typing import TYPE_CHECKING

from attrs import frozen

from .identity.clients import client_of, session_of
from .record.records import CENTRALIZED, Owner
from .stored_objects import StoragePath, StoredObjects
from .upstream.call import UpstreamCall
from .upstream.key_pool import Conversation, KeyPool

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
        continued = parsed.continued_ids
        if credential.kind != CENTRALIZED or not (continued or self.pool):
            return Grant(self.chosen or credential)
        owner = None
        if continued and self.objects is not None:
            owner = await self.objects.continued(continued, request.actor.id)
        return self._grant(credential, (request.actor.id, parsed.session), owner, bool(continued))

    async def to_path(self, request: "ClientRequest", credential: "Credential") -> Grant:
        """Return what a request on a passed route is granted. Raise `NotStored` for what another actor has stored."""
        path = StoragePath.read(request.path.decoded)
        if credential.kind != CENTRALIZED or not (path or self.pool):
            return Grant(credential)
        owner, pinned = None, path is not None and path.object_id is not None
        if path is not None and self.objects is not None:
            if path.is_action:
                continued = request.peek_continued_ids()
                owner, pinned = await self.objects.continued(continued, request.actor.id), bool(continued)
            else:
                owner = await self.objects.reach(path, request.request.method, request.actor.id)
        fields = request.headers.by_name
        conversation = (request.actor.id, session_of(client_of(fields), fields, {}))
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
