"""The true parts, made from a configuration."""

from typing import Any

from attrs import asdict, evolve
from prometheus_client import generate_latest
from treq.testing import StubTreq
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from aibridge import Actor, IAuthenticator
from aibridge.config.model import AuthConfig, Config, load_config
from aibridge.recorder import ContentPolicy
from aibridge.service import assembly
from aibridge.service.assembly import AUTHENTICATORS, assemble

from ..identity.requests import request


class AssemblyTests(SynchronousTestCase):
    """What a configuration becomes."""

    def config(self) -> Config:
        """The usual one, on a database of its own."""
        config = load_config(None, {})
        return evolve(config, database=evolve(config.database, url=f"sqlite:///{self.mktemp()}"))

    def test_every_choice_can_be_made(self) -> None:
        """Each mode of authentication that can be configured is there."""
        for mode in AUTHENTICATORS:
            self.assertEqual(AuthConfig(mode=mode).mode, mode)

    def test_authenticators(self) -> None:
        """Each mode is made of its own settings, without asking anything yet."""
        settings = AuthConfig(
            header="X-User", trusted_proxies=("127.0.0.1",), jwks_url="http://h/", issuer="i", audience="a"
        )
        for mode, make in AUTHENTICATORS.items():
            config = evolve(self.config(), auth=evolve(settings, mode=mode))
            made = make(config, MemoryReactorClock())
            self.assertTrue(made is None if mode == "none" else IAuthenticator.providedBy(made), mode)
        header = AUTHENTICATORS["header"](evolve(self.config(), auth=settings), None)
        self.assertEqual(header.authenticate(request(("X-User", "alice"))), Actor("alice"))

    def test_record(self) -> None:
        """What is kept, and for how long, reaches the recorder; by default all but tools' results, for ever."""
        made: dict[str, Any] = {}
        recorder, filtered = assembly.SQLRecorder, assembly.FilteredRecorder
        self.patch(assembly, "SQLRecorder", lambda *args, **keys: made.update(keys) or recorder(*args, **keys))
        self.patch(
            assembly, "FilteredRecorder", lambda store, policy: made.update(asdict(policy)) or filtered(store, policy)
        )
        config = self.config()
        for policy, days in ((config.record, 0), (ContentPolicy(prompts=False, tool_results=True), 90)):
            database = evolve(config.database, retention_days=days)
            assemble(evolve(config, record=policy, database=database), MemoryReactorClock())
            wanted = asdict(policy) | asdict(database)
            self.assertEqual({name: made[name] for name in wanted}, wanted)
            made.clear()

    def test_sites(self) -> None:
        """The operator's site shows the gateway's own metrics, and is not ready before records can be kept."""
        parts = assemble(self.config(), MemoryReactorClock())
        self.assertEqual([*parts.sites], ["admin_listen", "listen"])  # the operator's is up first
        admin = StubTreq(parts.sites["admin_listen"].resource)
        answer = self.successResultOf(admin.get("http://admin/readyz"))
        self.assertEqual(answer.code, 503)
        metrics = self.successResultOf(self.successResultOf(admin.get("http://admin/metrics")).content())
        self.assertIn(b"recorder_queue_rows 0.0", metrics)
        self.assertIn(b"process_resident_memory_bytes", metrics)
        self.assertIn(b"interceptions_total", generate_latest(parts.gateway.bridge.metrics.registry))
