"""The operator's site: metrics, health and readiness."""

import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from twisted.internet.defer import Deferred
from twisted.web.resource import NoResource, Resource
from twisted.web.server import NOT_DONE_YET

from ..errors import AIBridgeError

Check = Callable[[], Any]
"""Returns the state of one part as a JSON value, or an awaitable of it. Raises if the part is not ready."""


class Admin(Resource):
    """The root of the site, with ``/metrics``, ``/healthz``, ``/readyz`` and the console.

    :param console: returns the root of the console; None if there is none.
    """

    def __init__(
        self, registry: CollectorRegistry, checks: Mapping[str, Check], console: Callable[[], Any] = lambda: None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._console = console
        self.putChild(b"metrics", MetricsPage(registry))
        self.putChild(b"healthz", HealthPage())  # type: ignore[no-untyped-call]
        self.putChild(b"readyz", ReadinessPage(partial(run_checks, checks)))

    def getChild(self, path: bytes, request: Any) -> Any:
        """Return the console's resource of that path: everything else on this site is the console's."""
        return child_of_console(self._console(), path, request)


def child_of_console(console: Any, path: bytes, request: Any) -> Any:
    """Return the resource of that path in the console, whose root this is; a page that is not found without one."""
    return NoResource() if console is None else console.getChildWithDefault(path, request)


class MetricsPage(Resource):
    """The metrics in Prometheus' text format: https://prometheus.io/docs/instrumenting/exposition_formats/"""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._registry = registry

    def render_GET(self, request: Any) -> bytes:
        _set_type(request, CONTENT_TYPE_LATEST)
        return generate_latest(self._registry)


class HealthPage(Resource):
    """200 as long as the process responds."""

    def render_GET(self, request: Any) -> bytes:
        _set_type(request, "text/plain; charset=utf-8")
        return b"ok"


class ReadinessPage(Resource):
    """200 if requests can be served and recorded, otherwise 503. The body is a report on each part.

    :param report: returns the report, a JSON object with the member ``ready``.
    """

    def __init__(self, report: Callable[[], Coroutine[Any, Any, dict[str, Any]]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._report = report

    def render_GET(self, request: Any) -> int:
        """Send the report when every check is done, unless the client has left by then."""
        disconnected: list[object] = []
        request.notifyFinish().addErrback(disconnected.append)

        def send(report: dict[str, Any]) -> None:
            if not disconnected:
                request.setResponseCode(200 if report["ready"] else 503)
                _set_type(request, "application/json")
                request.write(json.dumps(report).encode())
                request.finish()

        Deferred.fromCoroutine(self._report()).addCallback(send)
        return NOT_DONE_YET


async def run_checks(checks: Mapping[str, Check]) -> dict[str, Any]:
    """Return the report: the result of each check, and whether all parts are ready."""
    parts = {name: await _run_check(check) for name, check in checks.items()}
    return {"ready": all(part["ready"] for part in parts.values()), **parts}


async def _run_check(check: Check) -> dict[str, Any]:
    try:
        detail = check()
        if isinstance(detail, Awaitable):
            detail = await detail
    except AIBridgeError as error:
        return {"ready": False, "detail": str(error)}
    except Exception as error:  # its message may hold anything, even a password
        return {"ready": False, "detail": type(error).__name__}
    return {"ready": True, "detail": detail}


def _set_type(request: Any, media_type: str) -> None:
    request.setHeader("content-type", media_type)
