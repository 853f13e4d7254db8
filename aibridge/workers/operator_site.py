"""The operator's site of several workers: their metrics added up, and the readiness of each."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from twisted.internet.defer import Deferred, gatherResults
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from ..service.admin import HealthPage, ReadinessPage, child_of_console
from .metric_sums import MetricSums
from .worker_process import RestartingWorker


class WorkersSite(Resource):
    """The root of the site, with the pages that the site of a single process has.

    :param registry: the metrics of this process.
    :param console: returns the root of the console; None if there is none.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        sums: MetricSums,
        workers: Sequence[RestartingWorker],
        console: Callable[[], Any] = lambda: None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._console = console
        self.putChild(b"metrics", SumsPage(registry, sums, workers))
        self.putChild(b"healthz", HealthPage())  # type: ignore[no-untyped-call]
        self.putChild(b"readyz", ReadinessPage(partial(report_workers, workers)))

    def getChild(self, path: bytes, request: Any) -> Any:
        """Return the console's resource of that path."""
        return child_of_console(self._console(), path, request)


async def report_workers(workers: Sequence[RestartingWorker]) -> dict[str, Any]:
    """Return the report of ``/readyz``: the reports of all workers, and whether all are ready."""
    reports = await gatherResults([Deferred.fromCoroutine(worker.readiness()) for worker in workers])
    parts = {f"worker {number}": report for number, report in enumerate(reports, 1)}
    return {"ready": all(report["ready"] for report in reports), **parts}


class SumsPage(Resource):
    """The metrics of all processes together, in Prometheus' text format."""

    def __init__(self, registry: CollectorRegistry, sums: MetricSums, workers: Sequence[RestartingWorker]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._registry = registry
        self._sums = sums
        self._workers = workers

    def render_GET(self, request: Any) -> int:
        """Send the page when the workers have told their metrics, unless the client has left by then."""
        left: list[object] = []
        request.notifyFinish().addErrback(left.append)

        def send(_: object) -> None:
            if not left:
                request.setHeader("content-type", CONTENT_TYPE_LATEST)
                request.write(generate_latest(self._sums.with_own(self._registry)))
                request.finish()

        gatherResults([worker.refresh_metrics() for worker in self._workers]).addCallback(send)
        return NOT_DONE_YET
