"""The true parts, made from a configuration."""

import json
from typing import Any

from attrs import asdict, evolve
from prometheus_client import generate_latest
from treq.testing import StubTreq
from twisted.internet.defer import fail
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from aibridge import Actor, IAuthenticator, KeyAuthenticator
from aibridge.config.loader import load_config
from aibridge.config.model import AuthConfig, Config
from aibridge.costs.settings import PriceSettings
from aibridge.errors import Unavailable
from aibridge.identity.disabled_users import EnabledUsersOnly
from aibridge.record.recorder import RecorderState
from aibridge.recorder import ContentPolicy
from aibridge.service import assembly
from aibridge.service.assembly import AUTHENTICATORS, assemble

from ..identity.requests import request

IDLE: dict[str, Any] = {"reason": "", "queued_rows": 0, "spooled_rows": 0, "spooled_bytes": 0, "refuses": ""}


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

    def test_disabled_users(self) -> None:
        """In each mode with actors, those who are disabled are refused; without actors nothing is looked up."""
        made: list[Any] = []
        bridge = assembly.RequestBridge
        self.patch(assembly, "RequestBridge", lambda **keys: made.append(keys["authenticate"]) or bridge(**keys))
        settings = AuthConfig(trusted_proxies=("127.0.0.1",), jwks_url="http://h/", issuer="i", audience="a")
        for mode in AUTHENTICATORS:
            assemble(evolve(self.config(), auth=evolve(settings, mode=mode)), MemoryReactorClock())
            self.assertIs(type(made.pop()), type(None) if mode == "none" else EnabledUsersOnly, mode)

    def test_prices(self) -> None:
        """The bridge gets the prices of the configured providers; none if they are off."""
        made: list[Any] = []
        bridge = assembly.RequestBridge
        self.patch(assembly, "RequestBridge", lambda **keys: made.append(keys["prices"]) or bridge(**keys))
        config = self.config()
        for source in ("genai-prices", "off"):
            assemble(evolve(config, prices=PriceSettings(source=source)), MemoryReactorClock())
        found, none = made
        self.assertIsNone(none)
        self.assertIsNotNone(found.find("anthropic", "claude-opus-5-5"))

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

    def test_readiness(self) -> None:
        """The gateway is ready if requests can be authenticated and recorded now, away database or not."""
        for mode, state, code in (
            ("none", {"database": "up", "reached": True}, 200),
            ("none", {"database": "away", "reached": True}, 200),
            ("none", {"database": "away", "reached": False, "reason": "refused"}, 503),
            ("keys", {"database": "away", "reached": True}, 503),
        ):
            config = self.config()
            parts = assemble(evolve(config, auth=AuthConfig(mode=mode)), MemoryReactorClock())
            recorder = parts.gateway._recorder
            self.patch(recorder, "state", lambda state=state: RecorderState(**IDLE | state))
            self.patch(KeyAuthenticator, "check", lambda _: fail(Unavailable("no keys")))
            admin = StubTreq(parts.sites["admin_listen"].resource)
            response = self.successResultOf(admin.get("http://admin/readyz"))
            report = json.loads(self.successResultOf(response.content()))
            self.assertEqual(response.code, code, report)
            self.assertEqual("authentication" in report, mode == "keys")
            if not state["reached"]:
                self.assertEqual(report["database"]["detail"], "the database has never been reached: refused")

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
