"""Budgets over HTTP, on the operator's site: in the form of Anthropic's Admin API for spend limits.

https://platform.claude.com/docs/en/manage-claude/spend-limits-api

Programs that were written for that API work with this one by its base URL. Users are actors, by their names, and
``rbac_group`` is a group. Other than there, caps of groups and of the organization are set here too, and they are
shared: they count what all their actors spend together.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from ..console.roles import ADMIN, Visitor
from ..errors import RecordingError
from ..http.proxies import is_loopback
from ..record.audit import EntryMaker
from ..record.budgets.budget_store import BudgetStore
from ..record.budgets.caps import ACTOR, GROUP, ORGANIZATION, Cap
from ..record.budgets.effective import EffectiveLimit
from ..record.budgets.ids import read_budget_id, show_budget_id
from ..record.budgets.periods import MONTHLY, PERIODS
from ..record.budgets.standings import StoredCap
from ..record.values import new_id

_log = Logger()

_PATH = ["organizations", "spend_limits"]
_NANODOLLARS_OF_A_CENT = 10**7
_SCOPES = {"organization": (ORGANIZATION, None), "rbac_group": (GROUP, "rbac_group_id"), "user": (ACTOR, "user_id")}
"""By the API's type of scope: ours, and the member with the name."""
_TYPES = {ORGANIZATION: "organization", GROUP: "rbac_group", ACTOR: "user"}
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    500: "api_error",
    503: "overloaded_error",
}
_MOST_BYTES = 65_536
_MOST_ROWS = 1000
_LONGEST_NAME = 512

Authorize = Callable[[Any, bool], Awaitable[EntryMaker]]
"""Lets a request pass, and returns the maker of its entries for the audit; or raises `SpendLimitsError`.

The second argument is True if the request changes a cap."""


@frozen
class SpendLimitsError(Exception):
    """A response with an error."""

    status: int
    message: str


async def allow_own_pages(request: Any, writes: bool) -> EntryMaker:
    """Let programs of this machine pass, and no web page of another site that a browser shows here.

    A page whose host name was made to lead to this machine has another site's name all the same.
    """
    if (page_origin := request.getHeader("origin")) is not None:
        page = urlsplit(page_origin)
        if page.netloc != request.getHeader("host") or not is_loopback(page.hostname or ""):
            raise SpendLimitsError(403, "Web pages of other sites may not use this API.")
    origin = getattr(request.getClientAddress(), "host", "unix")
    return Visitor(name="anonymous", role=ADMIN, origin=origin, way="none").entry


async def refuse_strangers(request: Any, writes: bool) -> EntryMaker:
    """Refuse everyone: other machines can reach the operator's site, which has no login."""
    raise SpendLimitsError(403, "Budgets are not served here: other machines can reach this site, which has no login.")


class SpendLimits(Resource):
    """Everything below ``/v1`` of the operator's site. Every request is passed through `authorize` first."""

    isLeaf = True

    def __init__(self, store: BudgetStore, reactor: Any, authorize: Authorize) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._store = store
        self._reactor = reactor
        self._authorize = authorize

    def render(self, request: Any) -> int:
        """Respond, in its own time."""
        left: list[object] = []
        request.notifyFinish().addErrback(left.append)

        def send(response: tuple[int, dict[str, Any]]) -> None:
            if not left:
                _send(request, *response)

        Deferred.fromCoroutine(self._respond(request)).addCallback(send)
        return NOT_DONE_YET

    async def _respond(self, request: Any) -> tuple[int, dict[str, Any]]:
        """Return status and body of the response."""
        try:
            return 200, await self._serve(request)
        except SpendLimitsError as error:
            return error.status, _error(error)
        except RecordingError as error:
            return 503, _error(SpendLimitsError(503, str(error)))
        except Exception:
            _log.failure("a request for spend limits failed")
            return 500, _error(SpendLimitsError(500, "The gateway failed; its log says why."))

    async def _serve(self, request: Any) -> dict[str, Any]:
        path = [segment.decode("utf-8", "replace") for segment in request.postpath if segment]
        method, rest = request.method, path[len(_PATH) :]
        if path[: len(_PATH)] != _PATH or len(rest) > 1:
            raise SpendLimitsError(404, "Not found.")
        entry = await self._authorize(request, method not in (b"GET", b"HEAD"))
        if method == b"GET" and not rest:
            return await self._list(request)
        if method == b"POST" and not rest:
            return await self._set(request, entry)
        if method == b"GET" and rest == ["effective"]:
            return await self._effective(request)
        if method == b"GET" and rest:
            return _limit(await self._find(rest[0]))
        if method == b"DELETE" and rest and rest != ["effective"]:
            return await self._remove(rest[0], entry)
        raise SpendLimitsError(405, "Method not allowed.")

    async def _list(self, request: Any) -> dict[str, Any]:
        types = _values(request, "scope_type", [*_SCOPES])
        count, page = _count(request), _page(request)
        caps = [each for each in await self._call(self._store.caps) if not types or _TYPES[each.cap.scope] in types]
        ids = [show_budget_id(each.cap.id) for each in caps]
        start = ids.index(page) + 1 if page in ids else 0
        shown = caps[start : start + count]
        more = start + count < len(caps)
        return {
            "data": [_limit(each) for each in shown],
            "has_more": more,
            "next_page": _encode_page(show_budget_id(shown[-1].cap.id)) if more else None,
        }

    async def _set(self, request: Any, entry: EntryMaker) -> dict[str, Any]:
        scope, name, period, limit = _read_limit(request)
        return _limit(await self._call(self._store.set, scope, name, period, limit, entry))

    async def _find(self, text: str) -> StoredCap:
        try:
            found: StoredCap | None = await self._call(self._store.find, read_budget_id(text))
        except ValueError:
            found = None
        if found is None:
            raise SpendLimitsError(404, f"There is no spend limit {text[:64]!r}.")
        return found

    async def _remove(self, text: str, entry: EntryMaker) -> dict[str, Any]:
        found = await self._find(text)
        await self._call(self._store.remove, found.cap.id, entry)
        return {"type": "spend_limit_deleted", "id": text}

    async def _effective(self, request: Any) -> dict[str, Any]:
        periods = _values(request, "period", PERIODS) or [*PERIODS]
        actors = _values(request, "user_ids", None)
        found, last = await self._call(self._store.effective, actors, periods, _page(request) or "", _count(request))
        return {"data": [_summary(each) for each in found], "next_page": _encode_page(last) if last else None}

    def _call(self, function: Callable[..., Any], *arguments: Any) -> "Deferred[Any]":
        """Call a function that blocks, on a thread."""
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)


# Requests


def _read_limit(request: Any) -> tuple[str, str, str, int | None]:
    """Return scope, name, period and nanodollars of a limit that is to be set."""
    if not (request.getHeader("content-type") or "").startswith("application/json"):
        raise SpendLimitsError(400, "The body must be JSON, with the Content-Type application/json.")
    try:
        body = json.loads(request.content.read(_MOST_BYTES))
    except ValueError:
        body = None
    if type(body) is not dict or type(body.get("scope")) is not dict:
        raise SpendLimitsError(400, "scope: Field required: an object with a type.")
    if body.get("currency", "USD") != "USD":
        raise SpendLimitsError(400, "currency: Amounts are in USD.")
    scope, member = _SCOPES.get(str(body["scope"].get("type")), (None, None))
    if scope is None:
        raise SpendLimitsError(400, f"scope.type: must be {', '.join(_SCOPES)}.")
    name = body["scope"].get(member) if member is not None else ""
    if type(name) is not str or len(name) > _LONGEST_NAME or not (name.isprintable() and (name or not member)):
        raise SpendLimitsError(400, f"scope.{member}: must be a name.")
    period = body.get("period", MONTHLY)
    if period not in PERIODS:
        raise SpendLimitsError(400, f"period: must be {', '.join(PERIODS)}.")
    return scope, name, period, _read_amount(body)


def _read_amount(body: dict[str, Any]) -> int | None:
    amount = body.get("amount", "")
    if amount is None:
        return None
    if type(amount) is not str or not (amount.isascii() and amount.isdigit() and len(amount) <= 11):
        raise SpendLimitsError(400, 'amount: must be a whole number of cents as a string, such as "50000", or null.')
    return int(amount) * _NANODOLLARS_OF_A_CENT


def _values(request: Any, name: str, known: Sequence[str] | None) -> list[str]:
    """Return the values of a parameter that may come several times, as ``name[]`` or ``name``."""
    raw: list[bytes] = request.args.get(f"{name}[]".encode(), []) + request.args.get(name.encode(), [])
    values = [value.decode("utf-8", "replace") for value in raw]
    for value in values:
        if known is not None and value not in known:
            raise SpendLimitsError(400, f"{name}: must be {', '.join(known)}.")
    return values


def _count(request: Any) -> int:
    text: bytes = request.args.get(b"limit", [b"20"])[-1]
    if not text.isdigit() or not 1 <= int(text[:9]) <= _MOST_ROWS:
        raise SpendLimitsError(400, f"limit: must be a number from 1 to {_MOST_ROWS}.")
    return int(text)


def _page(request: Any) -> str | None:
    text: bytes = request.args.get(b"page", [b""])[-1]
    if not text:
        return None
    prefix, _, encoded = text.partition(b"_")
    try:
        if prefix == b"page":
            return urlsafe_b64decode(encoded).decode()
    except ValueError:
        pass
    raise SpendLimitsError(400, "page: must be the next_page of another response.")


def _encode_page(last: str) -> str:
    return f"page_{urlsafe_b64encode(last.encode()).decode()}"


# Responses


def _limit(stored: StoredCap) -> dict[str, Any]:
    """Return a cap in the API's form."""
    cap = stored.cap
    return {
        "type": "spend_limit",
        "id": show_budget_id(cap.id),
        "scope": _scope(cap),
        "amount": None if cap.limit is None else str(cap.limit // _NANODOLLARS_OF_A_CENT),
        "currency": "USD",
        "period": cap.period,
        "is_enabled": True,
        "created_at": _time(stored.created_at),
        "updated_at": _time(stored.updated_at),
    }


def _summary(effective: EffectiveLimit) -> dict[str, Any]:
    """Return the cap that binds an actor in the API's form."""
    cap, actor = effective.standing.cap, effective.actor
    cents = Decimal(effective.spent) / _NANODOLLARS_OF_A_CENT
    spent = f"{cents:.3f}".rstrip("0").rstrip(".")
    return {
        "scope": {"type": "user", "user_id": actor},
        "actor": {"type": "user_actor", "user_id": actor, "name": None, "email_address": None, "deleted": False},
        "amount": None if cap.limit is None else str(cap.limit // _NANODOLLARS_OF_A_CENT),
        "currency": "USD",
        "period": cap.period,
        "source": _scope(cap),
        "spend_limit_id": show_budget_id(cap.id),
        "period_to_date_spend": spent,
    }


def _scope(cap: Cap) -> dict[str, str]:
    kind = _TYPES[cap.scope]
    member = _SCOPES[kind][1]
    return {"type": kind} | ({member: cap.name} if member is not None else {})


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _error(error: SpendLimitsError) -> dict[str, Any]:
    return {"type": "error", "error": {"type": _ERROR_TYPES[error.status], "message": error.message}}


def _send(request: Any, status: int, body: dict[str, Any]) -> None:
    request_id = f"req_{new_id().hex}"
    if body.get("type") == "error":
        body = body | {"request_id": request_id}
    request.setResponseCode(status)
    request.setHeader("content-type", "application/json")
    request.setHeader("request-id", request_id)
    request.write(json.dumps(body).encode())
    request.finish()
