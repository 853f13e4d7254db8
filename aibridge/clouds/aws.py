"""AWS: credentials of botocore's own chain, and signatures made by its signer.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from ..http.client_request import split_uri
from ..http.headers import RawHeaders
from ..identity.credentials import hint
from .authorizer import CloudAuthorizer
from .lookup import Found, Lookup, NothingFound

if TYPE_CHECKING:
    from ..upstream.call import UpstreamCall

_SESSION_NAME = "aibridge"
_ADDED = ("X-Amz-Date", "X-Amz-Security-Token", "Authorization")
"""The headers that the signer makes."""
_AMAZON = b"x-amz-"
"""The beginning of the headers that must be signed. Proxies may change others, but for the content's type."""

Sign = Callable[[bytes, bytes, RawHeaders, bytes], None]
"""Adds a signature to the headers of a request: method, URL, headers and body."""


@frozen
class Signer:
    """Valid keys, and the function that signs with them."""

    hint: str | None
    sign: Sign


@frozen(kw_only=True)
class AwsSettings:
    """The place of the credentials, and what the signatures are for."""

    region: str
    service: str
    profile: str | None = None
    role_arn: str | None = None
    external_id: str | None = None


class SigV4Authorizer(CloudAuthorizer[Signer]):
    """Signs requests with AWS Signature Version 4. Records show the hint of the access key's id."""

    def __init__(self, settings: AwsSettings, reactor: IReactorTime) -> None:
        super().__init__(Lookup("aws", lambda: find_signer(settings), reactor))

    def apply(self, found: Signer, call: "UpstreamCall") -> None:
        """Sign a request."""
        headers = call.headers
        if not isinstance(headers, RawHeaders):
            headers = call.headers = RawHeaders.of(headers)
        found.sign(call.method, call.url, headers, call.body)


def find_signer(settings: AwsSettings) -> Found[Signer]:
    """Find credentials, and return a signer with them. Blocks: it reads files and may ask several services."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        keys, expires_at = _find_keys(settings)
    except NoCredentialsError:
        raise NothingFound(_NOWHERE) from None
    except ClientError as error:
        raise NothingFound(f"sts:AssumeRole was refused: {error.response['Error'].get('Code', 'unknown')}") from None
    except BotoCoreError as error:
        raise NothingFound(type(error).__name__) from None
    return Found(Signer(hint(keys.access_key.encode()), make_sign(keys, settings.service, settings.region)), expires_at)


_NOWHERE = "neither the environment, the profile, the container, the instance nor SSO has any"


def _find_keys(settings: AwsSettings) -> tuple[Any, float | None]:
    """Return keys, and the time of their end if they have one."""
    from botocore.credentials import ReadOnlyCredentials
    from botocore.session import Session

    session = Session(profile=settings.profile)
    if settings.role_arn is None:
        found = session.get_credentials()
        if found is None:
            raise NothingFound(_NOWHERE)
        keys = found.get_frozen_credentials()
        expiry = getattr(found, "_expiry_time", None)  # botocore shows it nowhere else
        return keys, expiry.timestamp() if expiry is not None else None
    given: dict[str, str] = {"RoleArn": settings.role_arn, "RoleSessionName": _SESSION_NAME}
    if settings.external_id is not None:
        given["ExternalId"] = settings.external_id
    role = session.create_client("sts", region_name=settings.region).assume_role(**given)["Credentials"]
    keys = ReadOnlyCredentials(role["AccessKeyId"], role["SecretAccessKey"], role["SessionToken"])
    return keys, role["Expiration"].timestamp()


def make_sign(keys: Any, service: str, region: str) -> Sign:
    """Return the function that signs requests to a service with these keys."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    signer = SigV4Auth(keys, service, region)

    def sign(method: bytes, url: bytes, headers: RawHeaders, body: bytes) -> None:
        for added in _ADDED:
            headers.removeHeader(added.encode())  # of the round before
        given = {"Host": split_uri(url)[0].authority.decode()}
        for name, values in headers.by_name.items():
            if name == b"content-type" or name.startswith(_AMAZON):
                given[name.decode()] = values[0].decode("latin-1")
        request = AWSRequest(method.decode(), url.decode(), given, body)
        signer.add_auth(request)
        for added in _ADDED:
            if (value := request.headers.get(added)) is not None:
                headers.set(added.encode(), value.encode())

    return sign
