"""The console as one part of the operator's site: its API, its access and its queries."""

from typing import Any

from twisted.web.resource import Resource

from ..insight.query_pool import QueryPool
from ..metrics import ConsoleMetrics
from .api import Api
from .settings import ConsoleSettings
from .visitors import make_access


class ConsoleSite:
    """The resources below ``/``, by name, and what they stand on.

    :param settings: with `auth` set.
    """

    def __init__(self, url: str, settings: ConsoleSettings, metrics: ConsoleMetrics, reactor: Any) -> None:
        self.queries = QueryPool(
            url,
            reactor,
            timeout=settings.query_timeout,
            observe=lambda name, seconds: metrics.queries.labels(name).observe(seconds),
        )
        self.access = make_access(settings, self.queries, reactor)
        self.root = Resource()
        api = Resource()
        api.putChild(
            b"v1",
            Api(
                self.access,
                self.queries,
                lambda name, status: metrics.requests.labels(f"api/{name}", str(status)).inc(),
            ),
        )
        self.root.putChild(b"api", api)

    def stop(self) -> None:
        """End the threads and connections."""
        self.queries.stop()
