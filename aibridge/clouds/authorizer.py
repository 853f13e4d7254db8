"""An authorizer for a cloud: a credential that is looked up, and put into each request."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from zope.interface import implementer

from ..identity.credentials import Credential
from ..interfaces import IAuthorizer
from ..record.records import CENTRALIZED
from .lookup import Lookup

if TYPE_CHECKING:
    from ..upstream.call import UpstreamCall


class Hinted(Protocol):
    """A credential of a cloud, as far as records show it."""

    @property
    def hint(self) -> str | None:
        """Enough of it to tell two apart, and too little to use; None for a short one."""


T = TypeVar("T", bound=Hinted)


@implementer(IAuthorizer)
class CloudAuthorizer(ABC, Generic[T]):
    """Authorizes requests with what a `Lookup` finds."""

    def __init__(self, lookup: Lookup[T]) -> None:
        self._lookup = lookup

    @abstractmethod
    def apply(self, found: T, call: "UpstreamCall") -> None:
        """Add the credential, or a signature, to the headers of a request."""

    @property
    def problem(self) -> str | None:
        """Why there is no credential; None if there is one, or none was looked for yet."""
        return self._lookup.problem

    def start(self) -> None:
        """Begin to look for the credential."""
        self._lookup.start()

    def doubt(self) -> None:
        """Look again in the background of the next request."""
        self._lookup.doubt()

    def credential(self) -> "Deferred[Credential]":
        """Fires with the credential as records have it: its hint alone."""
        return self._lookup.get().addCallback(lambda found: Credential(CENTRALIZED, (), found.hint))

    def authorize(self, call: "UpstreamCall") -> "Deferred[None] | None":
        """Authorize a request, at once if the credential is there and valid."""
        found = self._lookup.current()
        if found is None:
            return self._lookup.get().addCallback(self.apply, call)
        self.apply(found, call)
        return None
