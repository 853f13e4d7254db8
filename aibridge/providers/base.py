"""The base class of all providers: settings, routes, credential and headers."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import urlsplit

from attrs import Factory, frozen
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from .. import settings
from ..client.crossing import ACTOR_ID, ACTOR_METADATA_PREFIX
from ..client.routes import Route
from ..errors import GatewayError, MethodNotAllowed, RouteUnknown
from ..http.headers import RawHeaders
from ..http.tls import read_authorities, read_certificate
from ..identity.credentials import ALLOW, IGNORE, REFUSE, Credential, choose_credential, hint
from ..interfaces import Actor, IAdaptingProvider, IAuthorizer, IDumpPolicy, IProvider, IProviderPolicy, IToolLimits
from ..record.records import CENTRALIZED
from ..upstream.adaptation import Adaptation
from ..upstream.circuit_breaker import BreakerSettings
from ..upstream.refusals import Addition
from ..upstream.refused_parts import BETA, FIELD, SentParts
from ..wire import jsontext
from ..wire.json_paths import is_present, parse_path
from ..wire.request_body import RequestBody
from .model_names import ModelNames, model_table
from .refused import RefusedSettings

ANTHROPIC_BETA = b"anthropic-beta"
ABORT = "abort"
DRAIN = "drain"
_PASSED_METHODS = (b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT")
# TRACE is not among them: the provider's answer would show the client the credential that the gateway added.
_SPENDING = Route("/aibridge/spend", methods=(b"GET", b"HEAD"), tells_spending=True)
_NOT_IN_HEADER_NAMES = re.compile(
    r"[^A-Za-z0-9!#$%&'*+.^_`|~-]"
)  # https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2


_LIKE_GLOB = re.compile(r"(?<![\\.)\]])\*")


# Without slots: with them and a cached property, attrs makes every access to a missing attribute expensive.
@implementer(IProvider, IProviderPolicy, IToolLimits, IAdaptingProvider, IDumpPolicy)
@frozen(kw_only=True, slots=False)
class Provider:
    """A provider, which checks its own settings: `InvalidSetting`, a ValueError, names the one that can't be used.

    Configuration files have the same settings. Times are in seconds.
    """

    type: ClassVar[str]
    """The kind of API, and the usual name of such a provider."""
    client_type: ClassVar[str]
    """The type of provider for which its clients are made: ``anthropic`` or ``openai``."""
    variables: ClassVar[Mapping[str, Sequence[str]]] = {}
    """The variables in which the vendors' SDKs find settings, by setting; those of the file come before them."""
    default_base_url: ClassVar[str]
    routes: ClassVar[tuple[Route, ...]]
    mount: ClassVar[str] = ""
    """The beginning of a client's path that `base_url` has already."""
    credential_header: ClassVar[bytes]
    credential_form: ClassVar[bytes]
    learns: ClassVar[bool] = False
    """True if the parts that it refuses of clients' requests are learnt, unless `refused` says otherwise."""
    lists_models: ClassVar[bool] = True
    """False if it has no list of models, by which a key could be checked."""
    overloaded: ClassVar[frozenset[int]] = frozenset({429, 503, 504})
    """The statuses of a provider that has no capacity."""

    name: str = settings.name(default=Factory(lambda self: self.type, takes_self=True))
    """The first segment of the routes."""
    base_url: str = settings.base_url(default=Factory(lambda self: self.default_base_url, takes_self=True))
    api_key_env: str | None = settings.text()
    """The environment's variable with the key, read when the provider is made."""
    api_key_file: str | None = settings.text()
    """The file with the key, likewise."""
    api_key: str | None = settings.sourced_secret("api_key")
    api_keys: tuple[str, ...] = settings.secrets()
    """Keys that serve in turn, in place of one: each conversation keeps its key while the provider accepts that."""
    fallback: tuple[str, ...] = settings.names()
    """The names of providers that take over, in this order, while this one can't serve."""
    fallback_mid_conversation: bool = settings.switch(False)
    """True if they take over conversations that have begun, too."""
    shared_storage: bool = settings.switch(False)
    """True if each actor may use what the provider stores for another one."""
    proxy: str | None = settings.proxy()
    """The URL of an HTTP proxy, or "off"; without it, the environment's variables say which."""
    ca_file: str | None = settings.tls_file(read_authorities)
    """A PEM file with the authorities that are trusted in place of the platform's."""
    client_cert: str | None = settings.tls_file(read_certificate)
    """A PEM file with the key and the certificate that the provider is shown."""
    byok: str = settings.choice(ALLOW, REFUSE, IGNORE, default=ALLOW)
    """The fate of a client's own credential: `ALLOW` passes it on in place of `api_key`, `REFUSE` responds with 401,
    `IGNORE` drops it.
    """
    connect_timeout: float = settings.seconds(10.0)
    first_byte_timeout: float = settings.seconds(600.0)
    idle_timeout: float = settings.seconds(300.0)
    """The longest pause between two pieces of an answer."""
    on_disconnect: str = settings.choice(ABORT, DRAIN, default=ABORT)
    """The fate of an answer whose client has gone: `ABORT` ends it, `DRAIN` reads on for exact figures."""
    send_actor_headers: bool = settings.switch(False)
    extra_headers: Mapping[str, str] = settings.headers()
    circuit_breaker: BreakerSettings | None = settings.part("circuit_breaker", BreakerSettings)  # noqa: RUF009 - a field
    tools: bool = settings.switch(True)
    """False if the gateway's tools are never offered to its models."""
    max_tools: int | None = settings.count(None, least=0)
    """The most tools of one request, the client's among them. The gateway's beyond it are left out; None for no bound.
    """
    models: Mapping[str, str] = model_table()
    """The provider's names of models, by patterns of the asked names. The first that matches counts; without any
    pattern, names stay as they are.
    """
    refused: RefusedSettings | None = settings.part("refused", RefusedSettings)  # noqa: RUF009 - a field
    passthrough: tuple[str, ...] = settings.paths()
    """Further paths that pass through, with all paths below them; ``/files`` follows on the base URL."""
    dump_dir: str = settings.path()
    """The folder in which each exchange is dumped; an empty one is none."""
    dump_max_bytes: int = settings.count(2**30)
    """The most bytes of all dumps in the folder; the oldest are removed for new ones."""
    dump_days: int = settings.count(7, least=0)
    """The days for which dumps are kept; 0 for no bound."""

    def route(self, method: bytes, path: str) -> Route:
        """Return the route of a decoded path below the provider's name. Raise RouteUnknown or MethodNotAllowed."""
        matching = self._routes_of_known_paths.get(path) or self._matching(path)
        if not matching:
            raise RouteUnknown(
                f"{self.name} has no route {path[:200]!r} here; set the client's base URL to …/{self.name}{self.mount}."
            )
        for route in matching:
            if method in (route.methods or _PASSED_METHODS):
                return route
        allowed = sorted({name.decode() for route in matching for name in route.methods or _PASSED_METHODS})
        refused = method[:20].decode("ascii", "replace")
        raise MethodNotAllowed(
            f"{refused} is not allowed for {path[:200]!r}; use {', '.join(allowed)}.", allowed=allowed
        )

    def url(self, raw_path: bytes, query: bytes) -> bytes:
        """Return the provider's URL for a client's path and query, which keep their bytes.

        Raise RouteUnknown if the mount is spelled in another way, such as ``/v1%2F``: the rest of the path would then
        lack the slash that separates it from the host of the base URL.
        """
        before, mount, path = raw_path.partition(self.mount.encode() + b"/")
        if before or not mount:
            raise RouteUnknown(
                f"The path does not begin with {self.mount}/; set the client's base URL to …/{self.name}{self.mount}."
            )
        return b"%b/%b%b" % (self.base_url.encode(), path, b"?" + query if query else b"")

    def credential(self, client: RawHeaders) -> Credential:
        """Return the credential for a request with these headers.

        Raise MissingCredential if there is none, CredentialRefused if it is the client's own and `byok` refuses that.
        """
        return choose_credential(client, self._configured, self.name, self.byok)

    def add_headers(self, headers: RawHeaders, credential: Credential, actor: Actor) -> None:
        """Add the headers that only the gateway may send: credential, configured headers, and the actor if enabled."""
        for header, secret in credential.headers:
            headers.set(header, secret)
        for name, text in self.extra_headers.items():
            headers.set(name.encode(), text.encode())
        if self.send_actor_headers:
            headers.set(ACTOR_ID, _header_value(actor.id))
            for key, item in actor.metadata.items():
                suffix = _NOT_IN_HEADER_NAMES.sub("-", str(key)).encode()
                headers.set(ACTOR_METADATA_PREFIX + suffix, _header_value(item))

    @cached_property
    def adapts(self) -> bool:
        """False if every request goes out as the client sent it."""
        return bool(self.models or self.refused or self.learns)

    @property
    def has_key(self) -> bool:
        """True if one key or several are configured."""
        return self._configured is not None

    @property
    def has_own_credential(self) -> bool:
        """True if requests without a client's credential can be served."""
        return self.has_key or self.finds_credentials

    @property
    def finds_credentials(self) -> bool:
        """True if the credential is looked for in the gateway's surroundings, and is not configured."""
        return False

    def authorizer(self, reactor: IReactorTime) -> IAuthorizer | None:
        """Return None: the configured key is a header that never changes."""
        return None

    def adapt(
        self, path: str, query: bytes, body: RequestBody, headers: RawHeaders, without: Collection[Addition]
    ) -> Adaptation:
        """Return the changes to a request, and leave out of its headers the beta flags that are refused.

        Raise BadRequest for a model that is not in the table.
        """
        model = self.model_name(body.model)
        refused = self._refused
        fields = {*map(parse_path, refused.fields), *(parse_path(each.part) for each in without if each.name == FIELD)}
        betas = self._take_betas(headers, without)
        learns = self.learns if refused.learn is None else refused.learn
        return Adaptation(
            url=self.url(path.encode(), query),
            model=model,
            members={"model": jsontext.dump(model)} if model != body.model else {},
            fields=[field for field in fields if is_present(body.document, field)],
            sent=SentParts(betas, body.document, refused.belonging) if learns else None,
        )

    def model_name(self, asked: str) -> str:
        """Return the provider's name for a model. Raise BadRequest for one that is not in the table."""
        return self._model_names.find(asked)

    def _take_betas(self, headers: RawHeaders, without: Collection[Addition]) -> list[str]:
        """Remove the flags that are refused from ``anthropic-beta``, and return the others."""
        values = headers.by_name.get(ANTHROPIC_BETA)
        if values is None:
            return []
        refused = [*self._refused.betas, *(each.part for each in without if each.name == BETA)]
        flags = [flag.strip() for value in values for flag in value.decode("latin-1").split(",")]
        kept = [flag for flag in flags if flag and not any(fnmatchcase(flag, pattern) for pattern in refused)]
        if not kept:
            headers.removeHeader(ANTHROPIC_BETA)
        elif len(kept) < len(flags):
            headers.set(b"anthropic-beta", ",".join(kept).encode("latin-1"))
        return kept

    @cached_property
    def _refused(self) -> RefusedSettings:
        return self.refused or RefusedSettings()

    @cached_property
    def _model_names(self) -> ModelNames:
        return ModelNames(self.models, f"providers.{self.name}.models")

    def warnings(self) -> list[str]:
        """Return what looks wrong with these settings, so that requests may fail: the setting's name and the reason."""
        found = []
        path = urlsplit(self.base_url).path
        added = [route.path.removeprefix(self.mount) for route in self.routes if route.format is not None]
        if ending := next((ending for ending in added if path.endswith(ending)), None):
            found.append(f"base_url: ends in {ending}, which the gateway adds itself; remove that")
        elif path.endswith(f"{self.mount}/v1"):
            found.append("base_url: has a /v1 too many; requests would go to …/v1/v1/…")
        elif self.mount and not path:
            found.append(f"base_url: has no {self.mount} at its end, as nearly all such providers need")
        if self.byok != ALLOW and self._configured is None:
            found.append(f"byok: is {self.byok} without any api_key, so that every request gets 401")
        found += (
            f'models: {json.dumps(pattern)} is a regular expression, in which "*" repeats what is before it; write ".*"'
            for pattern in self.models
            if _LIKE_GLOB.search(pattern)
        )
        return found

    def error_body(self, error: GatewayError) -> dict[str, Any]:
        """Return an error in the shape of this provider's API."""
        raise NotImplementedError

    def error_body_on(self, path: str, error: GatewayError) -> dict[str, Any]:
        """Return an error in the shape of the API that has this path."""
        return self.error_body(error)

    def _matching(self, path: str) -> list[Route]:
        return [route for route in self._all_routes if route.matches(path)]

    @cached_property
    def pooled_credentials(self) -> tuple[Credential, ...]:
        """The credentials of `api_keys`, in the header that is usual for this API."""
        return tuple(map(self._make_credential, self.api_keys))

    @cached_property
    def _configured(self) -> Credential | None:
        """The configured credential; of several the first."""
        return self._make_credential(self.api_key) if self.api_key else next(iter(self.pooled_credentials), None)

    def _make_credential(self, api_key: str) -> Credential:
        key = api_key.encode()
        return Credential(CENTRALIZED, ((self.credential_header, self.credential_form % key),), hint(key))

    @cached_property
    def _routes_of_known_paths(self) -> dict[str, list[Route]]:
        """The matching routes of the paths that nearly all requests have."""
        return {route.path: self._matching(route.path) for route in self._all_routes}

    @cached_property
    def _all_routes(self) -> tuple[Route, ...]:
        further = [self.mount + path for path in self.passthrough]
        return (*self.routes, _SPENDING, *map(Route, further), *(Route(path + "/") for path in further))


def _header_value(value: object) -> bytes:
    """Return text that can't break out of its header."""
    return "".join(character if character.isprintable() else " " for character in str(value)).strip().encode()
