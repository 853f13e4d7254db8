"""The key with which a WebSocket is opened to a provider that has several."""

from typing import cast

from attrs import frozen
from twisted.web.iweb import IResponse

from ..errors import TooManyRequests
from ..identity.credentials import Credential
from ..upstream.key_pool import COOLING, KeyPool, PooledKey
from ..wire import jsontext
from ..wire.jsontext import nonempty_str
from ..wire.provider_errors import document_of, error_object
from .lane_response import LaneResponse


@frozen(eq=False)
class SocketKey:
    """The key of a pool with which a WebSocket was opened. All requests on the WebSocket use it, and no other one."""

    pool: KeyPool
    key: PooledKey

    @classmethod
    def find(cls, pool: KeyPool | None, credential: Credential) -> "SocketKey | None":
        """Return the key of a credential; None for one that is not of the pool, or if there is no pool."""
        key = pool.find(credential) if pool is not None else None
        return cls(pool, key) if pool is not None and key is not None else None

    def check(self) -> None:
        """Raise `TooManyRequests`, in the provider's words, while the provider takes no request with the key."""
        if self.pool.is_warm(self.key):
            return
        refusal, seconds = self.pool.wait(self.key, pinned=True)
        if refusal.code == TooManyRequests.status:
            words = nonempty_str(error_object(document_of(refusal.body)).get("message"))
            raise TooManyRequests(words or "The provider's limit is reached.", retry_after=seconds)

    def learn(self, response: LaneResponse) -> None:
        """Let the key rest if the provider has refused it, as after a request over HTTP."""
        if response.code < 300:
            self.pool.served(self.key)
        elif response.code in COOLING:
            response.headers.setRawHeaders(b"Content-Type", [b"application/json"])
            self.pool.cool(self.key, cast(IResponse, response), jsontext.dump({"error": response.error}))
