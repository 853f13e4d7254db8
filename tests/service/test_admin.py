"""What an operator's tools see."""

import json
from typing import Any

from prometheus_client import CollectorRegistry, Counter
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import RecordingError
from aibridge.service.admin import Admin


class AdminTests(SynchronousTestCase):
    """The site, asked in memory."""

    def get(self, path: str, **checks: Any) -> tuple[int, str, bytes]:
        """Status, type and body of a page."""
        registry = CollectorRegistry()
        Counter("apples", "Eaten.", registry=registry).inc(3)
        treq = StubTreq(Admin(registry, checks))
        answer = self.successResultOf(treq.get(f"http://admin{path}"))
        body = self.successResultOf(answer.content())
        return answer.code, (answer.headers.getRawHeaders("content-type") or [""])[0], body

    def test_metrics(self) -> None:
        """The given registry's figures, in Prometheus' own format."""
        code, media_type, body = self.get("/metrics")
        self.assertEqual((code, media_type.partition(";")[0]), (200, "text/plain"))
        self.assertIn(b"apples_total 3.0", body)

    def test_health(self) -> None:
        """The process lives, whatever is wrong with its parts."""
        code, _, body = self.get("/healthz", database=lambda: fail(RecordingError("gone")))
        self.assertEqual((code, body), (200, b"ok"))

    def test_ready(self) -> None:
        """200 when every part is well, whether it says so at once or later."""
        code, media_type, body = self.get("/readyz", database=lambda: succeed("up"), providers=lambda: ["openai"])
        self.assertEqual((code, media_type), (200, "application/json"))
        self.assertEqual(
            json.loads(body),
            {
                "ready": True,
                "database": {"ready": True, "detail": "up"},
                "providers": {"ready": True, "detail": ["openai"]},
            },
        )

    def test_not_ready(self) -> None:
        """503 when one part is not, and the report says which and why."""
        code, _, body = self.get("/readyz", database=lambda: fail(RecordingError("disk full")), providers=list)
        report = json.loads(body)
        self.assertEqual((code, report["ready"]), (503, False))
        self.assertEqual(report["database"], {"ready": False, "detail": "disk full"})
        self.assertTrue(report["providers"]["ready"])

    def test_foreign_errors(self) -> None:
        """Of an error that is not the gateway's own only the kind is shown: its text may hold a secret."""
        _, _, body = self.get("/readyz", database=lambda: fail(ValueError("hunter2")))
        self.assertEqual(json.loads(body)["database"]["detail"], "ValueError")

    def test_asker_leaves(self) -> None:
        """A probe that gives up before the report is there troubles nobody."""
        slow: Deferred[str] = Deferred()
        treq = StubTreq(Admin(CollectorRegistry(), {"database": lambda: slow}))
        asked = treq.get("http://admin/readyz")
        asked.cancel()
        self.failureResultOf(asked)
        treq.flush()
        slow.callback("up")

    def test_anything_else(self) -> None:
        """There is nothing else here."""
        for path in ("/", "/metrics/x", "/readyz/../x"):
            self.assertEqual(self.get(path)[0], 404)
