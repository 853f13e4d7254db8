"""The console as one part of the operator's site: its pages, its API, its access and its queries."""

from typing import Any

from twisted.web.resource import Resource

from ..insight.query_pool import QueryPool
from ..metrics import ConsoleMetrics
from ..record.budgets.budget_store import BudgetStore
from .api import Api
from .pages.site import Pages, Report
from .settings import ConsoleSettings
from .visitors import make_access


class ConsoleSite:
    """The resources below ``/``, by name, and what they stand on.

    :param settings: with `auth` set.
    :param budgets: the budgets, in the same database.
    :param report: returns the gateway's readiness report.
    """

    def __init__(
        self,
        url: str,
        settings: ConsoleSettings,
        budgets: BudgetStore,
        report: Report,
        metrics: ConsoleMetrics,
        reactor: Any,
    ) -> None:
        self.queries = QueryPool(
            url,
            reactor,
            timeout=settings.query_timeout,
            observe=lambda name, seconds: metrics.queries.labels(name).observe(seconds),
        )
        self.access = make_access(settings, self.queries, reactor)

        def count(page: str, status: int) -> None:
            metrics.requests.labels(page, str(status)).inc()

        api = Api(self.access, self.queries, lambda name, status: count(f"api/{name}", status), budgets)
        versions = Resource()
        versions.putChild(b"v1", api)
        self.root = _Root(Pages(api, budgets, report, count))
        self.root.putChild(b"api", versions)

    def stop(self) -> None:
        """End the threads and connections."""
        self.queries.stop()


class _Root(Resource):
    """The root: everything that has no resource of its own is a page."""

    def __init__(self, pages: Pages) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._pages = pages

    def getChild(self, path: bytes, request: Any) -> Resource:
        """Return the resource of all pages."""
        return self._pages
