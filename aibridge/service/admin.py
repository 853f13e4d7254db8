"""The operator's site: what the gateway does, whether it lives, whether it is ready."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from ..errors import AIBridgeError

Check = Callable[[], Any]
"""Says how a part of the gateway is, as a JSON value or an awaitable of one; raises where that part is not ready."""


class Admin(Resource):
    """``/metrics``, ``/healthz`` and ``/readyz``; anything else is 404."""

    def __init__(self, registry: CollectorRegistry, checks: Mapping[str, Check]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.putChild(b"metrics", MetricsPage(registry))
        self.putChild(b"healthz", HealthPage())  # type: ignore[no-untyped-call]
        self.putChild(b"readyz", ReadinessPage(checks))


class MetricsPage(Resource):
    """What Prometheus scrapes: https://prometheus.io/docs/instrumenting/exposition_formats/"""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._registry = registry

    def render_GET(self, request: Any) -> bytes:
        _set_type(request, CONTENT_TYPE_LATEST)
        return generate_latest(self._registry)


class HealthPage(Resource):
    """The process lives: it answers."""

    def render_GET(self, request: Any) -> bytes:
        _set_type(request, "text/plain; charset=utf-8")
        return b"ok"


class ReadinessPage(Resource):
    """200 when requests can be served and recorded, else 503; either way with a report on each part."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._checks = checks

    def render_GET(self, request: Any) -> int:
        """The report, once every part has been asked; nothing to a client that has left meanwhile."""
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        def answer(report: dict[str, Any]) -> None:
            if not gone:
                request.setResponseCode(200 if report["ready"] else 503)
                _set_type(request, "application/json")
                request.write(json.dumps(report).encode())
                request.finish()

        Deferred.fromCoroutine(examine(self._checks)).addCallback(answer)
        return NOT_DONE_YET


async def examine(checks: Mapping[str, Check]) -> dict[str, Any]:
    """How each part is, and whether all of them are ready."""
    parts = {name: await _examine_one(check) for name, check in checks.items()}
    return {"ready": all(part["ready"] for part in parts.values()), **parts}


async def _examine_one(check: Check) -> dict[str, Any]:
    try:
        detail = check()
        if isinstance(detail, Awaitable):
            detail = await detail
    except AIBridgeError as error:
        return {"ready": False, "detail": str(error)}
    except Exception as error:  # a foreign message may hold anything, a password among it
        return {"ready": False, "detail": type(error).__name__}
    return {"ready": True, "detail": detail}


def _set_type(request: Any, media_type: str) -> None:
    request.setHeader("content-type", media_type)
