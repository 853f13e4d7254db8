"""Bearer tokens of Google and of Microsoft Entra, found by the clouds' own libraries."""

from collections.abc import Callable
from datetime import UTC
from typing import TYPE_CHECKING

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from ..identity.credentials import Credential, hint
from ..interfaces import IAuthorizer
from ..record.records import CENTRALIZED
from .lookup import Found, Lookup, NothingFound

if TYPE_CHECKING:
    from ..upstream.call import UpstreamCall

_GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


@frozen
class Token:
    """A token in the form of its header."""

    header: bytes
    hint: str | None


@implementer(IAuthorizer)
class BearerAuthorizer:
    """Adds a token of a cloud to requests."""

    def __init__(self, cloud: str, find_token: Callable[[], Found[Token]], reactor: IReactorTime) -> None:
        self._lookup: Lookup[Token] = Lookup(cloud, find_token, reactor)

    @property
    def problem(self) -> str | None:
        """Why there is no token; None if there is one, or none was looked for yet."""
        return self._lookup.problem

    def start(self) -> None:
        """Begin to look for a token."""
        self._lookup.start()

    def doubt(self) -> None:
        """Look again in the background of the next request."""
        self._lookup.doubt()

    def credential(self) -> "Deferred[Credential]":
        """Fires with the credential as records have it."""
        return self._lookup.get().addCallback(lambda token: Credential(CENTRALIZED, (), token.hint))

    def authorize(self, call: "UpstreamCall") -> "Deferred[None] | None":
        """Add the token, at once if it is there and valid."""
        token = self._lookup.current()
        if token is None:
            return self._lookup.get().addCallback(lambda found: _add(found, call))
        _add(token, call)
        return None


def _add(token: Token, call: "UpstreamCall") -> None:
    call.headers.setRawHeaders(b"Authorization", [token.header])


def _token(value: str) -> Token:
    return Token(b"Bearer " + value.encode(), hint(value.encode()))


def find_google_token() -> Found[Token]:
    """Return a token of Google's application default credentials. Blocks."""
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError
    from google.auth.transport.requests import Request

    try:
        credentials, _ = google.auth.default(scopes=[_GOOGLE_SCOPE])
    except DefaultCredentialsError:
        raise NothingFound("there are no application default credentials") from None
    credentials.refresh(Request())  # type: ignore[no-untyped-call]
    expiry = credentials.expiry  # in UTC, without saying so
    return Found(_token(str(credentials.token)), expiry.replace(tzinfo=UTC).timestamp() if expiry is not None else None)


def find_entra_token(scope: str) -> Found[Token]:
    """Return a token of Microsoft Entra for this scope. Blocks."""
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import CredentialUnavailableError, DefaultAzureCredential

    try:
        with DefaultAzureCredential() as credential:
            token = credential.get_token(scope)
    except CredentialUnavailableError:
        raise NothingFound("no identity of Azure is available here") from None
    except ClientAuthenticationError:
        raise NothingFound("Microsoft Entra gave no token") from None
    return Found(_token(token.token), float(token.expires_on))
