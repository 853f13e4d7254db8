"""Bearer tokens of Google and of Microsoft Entra, found by the clouds' own libraries."""

from collections.abc import Callable
from datetime import UTC
from typing import TYPE_CHECKING

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from ..identity.credentials import hint
from .authorizer import CloudAuthorizer
from .lookup import Found, Lookup, NothingFound

if TYPE_CHECKING:
    from ..upstream.call import UpstreamCall

_GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


@frozen
class Token:
    """A token in the form of its header."""

    header: bytes
    hint: str | None


class BearerAuthorizer(CloudAuthorizer[Token]):
    """Adds a token of a cloud to requests."""

    def __init__(self, cloud: str, find_token: Callable[[], Found[Token]], reactor: IReactorTime) -> None:
        super().__init__(Lookup(cloud, find_token, reactor))

    def apply(self, found: Token, call: "UpstreamCall") -> None:
        """Add the token to a request."""
        call.headers.setRawHeaders(b"Authorization", [found.header])


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
