"""The log of refused requests, for operators: the gateway keeps no record of them."""

import re
from collections.abc import Callable, Mapping, Sequence

from attrs import define
from twisted.logger import Logger

from .caches import LRUCache
from .errors import GatewayError, MethodNotAllowed, RouteUnknown, Unauthorized, UpgradeRefused
from .identity.clients import UNKNOWN, client_of
from .identity.credentials import GATEWAY_HEADER, PROVIDER_HEADERS, hint
from .json_log import EVENT
from .logs import log_summary

_log = Logger()
_PERIOD = 60.0
_LINES_A_PERIOD = 10
_MOST_KINDS = 1000
_LONGEST_PATH = 200
_LONGEST_NAME = 60
# A segment of a path, or a quoted word, that is long enough to be a secret in the wrong place.
_LONG_SEGMENT = re.compile(r"(?<!/)([/'])([^/'\"\s]{16,})")


@define
class _Period:
    """The lines of one kind of refusal since `began`."""

    began: float
    lines: int = 0
    left_out: int = 0
    """The refusals since the last line."""


class RefusalLog:
    """Writes a line for a refused request, but at most ten a minute for each kind, so that nobody can fill the log.

    The next line of that kind says how many were left out. Probes, which are HEAD requests without a credential, and
    refused WebSockets have no line: clients go on by themselves.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._periods: LRUCache[tuple[type[GatewayError], str], _Period] = LRUCache(_MOST_KINDS)

    def add(
        self,
        error: GatewayError,
        method: bytes,
        path: bytes,
        headers: Mapping[bytes, Sequence[bytes]],
        actor_id: str | None = None,
    ) -> None:
        """Log the refusal of a request with these headers, whose names are in lower case.

        The line has a hint of the credential, and nothing else of it. Of a request whose head is incomplete, `method`
        and `headers` are empty.
        """
        credential = next((headers[name][0] for name in (GATEWAY_HEADER, *PROVIDER_HEADERS) if headers.get(name)), None)
        is_probe = method == b"HEAD" and credential is None
        if is_probe or isinstance(error, UpgradeRefused):
            return
        left_out = self._left_out(error)
        if left_out is None:
            return
        fields = {
            EVENT: "request_refused",
            "status": "refused",
            "http_status": error.status,
            "method": method.decode("ascii", "replace"),
            "path": _without_secrets(path[:_LONGEST_PATH].decode("utf-8", "replace")),
            "client": _client(headers),
            "credential_hint": hint(credential) if credential is not None else None,
            "actor": actor_id,
            "error": _reason(error),
            "error_class": type(error).__name__,
            "left_out": left_out,
        }
        log_summary(_log, _summary(fields), fields)

    def _left_out(self, error: GatewayError) -> int | None:
        """Return the number of refusals of that kind that had no line before this one; None if this has none either."""
        # Messages about credentials are few; others quote what a stranger has chosen.
        kind = type(error), error.message if isinstance(error, Unauthorized) else ""
        period, now = self._periods.get(kind), self._now()
        if period is None or now - period.began >= _PERIOD:
            period = _Period(now, left_out=period.left_out if period is not None else 0)
            self._periods.set(kind, period)
        if period.lines >= _LINES_A_PERIOD:
            period.left_out += 1
            return None
        period.lines += 1
        left_out, period.left_out = period.left_out, 0
        return left_out


def _reason(error: GatewayError) -> str:
    """Return the reason for operators: the message, if there is no other."""
    if isinstance(error, RouteUnknown | MethodNotAllowed):  # they quote the path
        return _without_secrets(error.message)
    return (error.reason if isinstance(error, Unauthorized) else "") or error.message


def _without_secrets(text: str) -> str:
    """Return the text with hints in place of long segments of a path: any of them may be a key in the wrong place."""
    return _LONG_SEGMENT.sub(lambda found: found[1] + (hint(found[2].encode()) or ""), text)


def _client(headers: Mapping[bytes, Sequence[bytes]]) -> str:
    """Return the client program's name, or the beginning of its User-Agent if it is not known."""
    name = client_of(headers)
    agents = headers.get(b"user-agent")
    if name != UNKNOWN or not agents or not agents[0]:
        return name
    return agents[0][:_LONGEST_NAME].decode("utf-8", "replace")


def _summary(fields: Mapping[str, object]) -> str:
    """Return the line."""
    who = f" from {fields['client']}"
    if fields["credential_hint"]:
        who += f", credential {fields['credential_hint']}"
    if fields["actor"]:
        who += f", actor {fields['actor']}"
    more = f" (and {fields['left_out']} more since the last such line)" if fields["left_out"] else ""
    what = f"{fields['http_status']}: {fields['method'] or '-'} {fields['path']}"
    return f"refused with {what}{who}: {fields['error']}{more}"
