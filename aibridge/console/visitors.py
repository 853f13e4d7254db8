"""Access: who is looking, and what their role is."""

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.address import UNIXAddress
from twisted.web.server import Request

from ..caches import LRUCache
from ..errors import AIBridgeError, Unauthorized
from ..http.proxies import is_fixed
from ..identity.authenticate import identify
from ..identity.credentials import strip_scheme
from ..identity.header import HeaderAuthenticator
from ..identity.jwt import JWTAuthenticator
from ..identity.key_store import KeyStore, digest, is_key
from ..insight.query_pool import QueryPool
from ..record.values import utc_now
from .accounts import Accounts, Session
from .roles import ADMIN, ROLES, Visitor
from .settings import EVERYONE, ConsoleSettings

COOKIE = b"aibridge_session"
MOST_WRONG = 5
WRONG_WITHIN = 60.0
"""Seconds: after so many wrong passwords within them, further ones are refused unseen."""

_KEY_HEADERS = (b"x-aibridge-key", b"x-api-key", b"authorization")
_MOST_WATCHED = 10_000


class NotSignedIn(AIBridgeError):
    """Nobody is known to be looking. `needs_password` is True if signing in helps."""

    def __init__(self, message: str, *, needs_password: bool = False) -> None:
        super().__init__(message)
        self.needs_password = needs_password


class NotAllowed(AIBridgeError):
    """The visitor is known, and has no right to do that."""


class TooManyAttempts(AIBridgeError):
    """Too many wrong passwords were tried. `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("Too many wrong passwords. Try again in a minute.")
        self.retry_after = retry_after


@frozen(kw_only=True)
class Access:
    """Recognises visitors, in the way that the settings say; and whoever brings a key for the API in any case."""

    settings: ConsoleSettings
    queries: QueryPool
    accounts: Accounts
    keys: KeyStore
    authenticator: "HeaderAuthenticator | JWTAuthenticator | None"
    attempts: "Attempts"

    async def identify(self, request: Request) -> Visitor:
        """Return the visitor who sends a request. `NotSignedIn` or `NotAllowed` if there is none."""
        origin = origin_of(request)
        for value in (value for name in _KEY_HEADERS for value in request.requestHeaders.getRawHeaders(name) or ()):
            if is_key(key := strip_scheme(value)):
                return await self._identify_key(key, origin)
        if (secret := _cookie(request)) is not None:
            session = await self.queries.run(lambda: self.accounts.find(secret, utc_now()))
            if session is not None:
                return Visitor(
                    name=session.name, role=session.role, origin=origin, way="password", session=session.secret
                )
        if self.settings.auth == "none":
            _refuse_foreign_host(request)
            return Visitor(name="anonymous", role=ADMIN, origin=origin, way="none")
        if self.authenticator is not None:
            return await self._identify_by_proxy_or_token(request, origin)
        raise NotSignedIn("Not signed in. Sign in, or send a key of the console.", needs_password=True)

    async def sign_in(self, request: Request, name: str, password: str) -> Session:
        """Return a new session. `NotSignedIn` if the name or the password is wrong, `TooManyAttempts` after five."""
        return await self._attempt(
            request, f"name {name}", lambda: self.accounts.sign_in(name, password, utc_now()), "Wrong name or password."
        )

    async def sign_in_with_key(self, request: Request, key: str) -> Session:
        """Return a new session of a gateway key's actor; the errors are those of `sign_in`."""
        if not self.settings.self_service:
            raise NotAllowed("Signing in with a gateway key is not offered here.")
        return await self._attempt(
            request, "", lambda: self.accounts.sign_in_with_key(key, utc_now()), "Unknown gateway key."
        )

    async def sign_out(self, visitor: Visitor) -> None:
        """End the visitor's session."""
        if (secret := visitor.session) is not None:
            await self.queries.run(lambda: self.accounts.sign_out(secret))

    async def record(self, visitor: Visitor, action: str, subject: str = "", **details: object) -> None:
        """Add what the visitor sees to the audit. RecordingError if that can't be stored: then show nothing."""
        entry = visitor.entry(action, subject, **details)
        await self.queries.run(lambda: self.accounts.record(entry))

    async def _attempt(
        self, request: Request, subject: str, sign_in: Callable[[], Session | None], wrong: str
    ) -> Session:
        watched = [f"address {origin_of(request)}", *([subject] if subject else [])]
        self.attempts.check(watched)
        session = await self.queries.run(sign_in)
        if session is None:
            self.attempts.add(watched)
            raise NotSignedIn(wrong, needs_password=True)
        return session

    async def _identify_key(self, key: bytes, origin: str) -> Visitor:
        hashed = digest(key)
        stored = (await self.queries.run(lambda: self.keys.find([hashed]))).get(hashed)
        if stored is None:
            raise NotSignedIn("Unknown key. Make one with aibridge keys create --console ROLE.")
        if end := stored.ended(utc_now()):
            raise NotSignedIn(f"Key {end}. Make another one with aibridge keys create --console ROLE.")
        if stored.console_role not in ROLES:
            raise NotAllowed("A gateway key opens no console. Make one with aibridge keys create --console ROLE.")
        return Visitor(name=f"{stored.actor} (key {stored.id})", role=stored.console_role, origin=origin, way="key")

    async def _identify_by_proxy_or_token(self, request: Request, origin: str) -> Visitor:
        assert self.authenticator is not None
        try:
            actor = await identify(self.authenticator.authenticate, request, lambda waiting: waiting)
        except Unauthorized as error:
            raise NotSignedIn(str(error)) from error
        claimed = actor.metadata.get("role")
        role = self.settings.roles.get(actor.id) or claimed or self.settings.roles.get(EVERYONE)
        if role not in ROLES:
            raise NotAllowed(f"User {actor.id} has no role in the console. Its administrator gives roles.")
        return Visitor(name=actor.id, role=role, origin=origin, way=str(self.settings.auth))


class Attempts:
    """Wrong passwords of the last minute, by what they were tried for. `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wrong: LRUCache[str, deque[float]] = LRUCache(_MOST_WATCHED)

    def check(self, subjects: list[str]) -> None:
        """Raise `TooManyAttempts` if one of these has had too many."""
        since = self._clock() - WRONG_WITHIN
        for subject in subjects:
            recent = [at for at in self._wrong.get(subject) or () if at > since]
            if len(recent) >= MOST_WRONG:
                raise TooManyAttempts(max(1, round(recent[0] - since)))

    def add(self, subjects: list[str]) -> None:
        """Count a wrong password."""
        for subject in subjects:
            times = self._wrong.get(subject) or deque(maxlen=MOST_WRONG)
            times.append(self._clock())
            self._wrong.set(subject, times)


def _cookie(request: Request) -> str | None:
    """Return the secret of the session in a request's cookies. The gateway's own requests don't parse cookies."""
    for value in request.requestHeaders.getRawHeaders(b"cookie") or ():
        for part in value.split(b";"):
            name, _, secret = part.strip().partition(b"=")
            if name == COOKIE and secret:
                return str(secret, "ascii", "replace")
    return None


def refuse_foreign_origin(request: Request) -> None:
    """Raise `NotAllowed` for a request that changes something, if a page of another site makes a browser send it.

    Browsers keep the origin to themselves where a page asks for no referrer, as the console's pages do, and say in
    another header that it is the same: https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
    """
    origin = request.requestHeaders.getRawHeaders(b"origin", [b""])[-1]
    own = request.requestHeaders.getRawHeaders(b"host", [b""])[0]
    if origin == b"null" and request.requestHeaders.getRawHeaders(b"sec-fetch-site") == [b"same-origin"]:
        return
    if origin and origin.partition(b"://")[2] != own:
        raise NotAllowed("This request comes from a page of another site.")


def _refuse_foreign_host(request: Request) -> None:
    """Raise `NotAllowed` for a name of the site that is not this machine's own.

    Where nobody signs in, a page of another site could have its own name lead here, and read what it is shown.
    """
    host = request.getRequestHostname().decode("ascii", "replace").strip("[]")
    if not (isinstance(request.getHost(), UNIXAddress) or is_fixed(host)):
        raise NotAllowed("Open this site by its address, such as 127.0.0.1, or as localhost.")


def origin_of(request: Request) -> str:
    """Return the address from which a request comes, as the audit names it."""
    peer = request.getClientAddress()
    return "unix" if isinstance(peer, UNIXAddress) else str(getattr(peer, "host", "unknown"))


def make_access(settings: ConsoleSettings, queries: QueryPool, reactor: Any) -> Access:
    """Return the access that the settings describe."""
    authenticator: HeaderAuthenticator | JWTAuthenticator | None = None
    if settings.auth == "header":
        authenticator = HeaderAuthenticator(trusted_proxies=settings.trusted_proxies, header=settings.header)
    elif settings.auth == "jwt":
        assert settings.issuer is not None and settings.audience is not None
        authenticator = JWTAuthenticator(
            issuer=settings.issuer,
            audience=settings.audience,
            jwks_url=settings.jwks_url,
            jwks_file=settings.jwks_file,
            actor_claim=settings.actor_claim,
            metadata_claims={"role": settings.role_claim} if settings.role_claim else None,
            leeway=settings.leeway,
            reactor=reactor,
        )
    return Access(
        settings=settings,
        queries=queries,
        accounts=Accounts(queries.url),
        keys=KeyStore(queries.url),
        authenticator=authenticator,
        attempts=Attempts(reactor.seconds),
    )
