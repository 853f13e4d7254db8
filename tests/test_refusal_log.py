"""The log of refused requests."""

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import BodyTooLarge, HeadersTooLarge, RouteUnknown, Unauthorized, UpgradeRefused
from aibridge.http.headers import RawHeaders
from aibridge.refusal_log import RefusalLog

CLAUDE = (b"User-Agent", b"claude-cli/2.1.330 (external, cli)")


class RefusalLogTests(SynchronousTestCase):
    """Lines, and their number."""

    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        self.clock = Clock()
        self.log = RefusalLog(self.clock.seconds)

    def observe(self, event: LogEvent) -> None:
        """Keep a line of this log."""
        if event["log_namespace"] == "aibridge.refusal_log":
            self.assertIs(event["log_level"], LogLevel.info)
            self.events.append(event)

    @property
    def lines(self) -> list[str]:
        """The lines so far."""
        return [formatEvent(event) for event in self.events]

    def add(self, error: Any, *fields: tuple[bytes, bytes], method: bytes = b"POST", path: bytes = b"/x") -> None:
        """Log a refused request with these headers."""
        self.log.add(error, method, path, RawHeaders(fields).by_name, "alice" if error.status == 413 else None)

    def test_line(self) -> None:
        """A line has status, method, path, client, a hint of the credential, the actor, and the reason."""
        self.add(RouteUnknown("Not found."), CLAUDE, (b"X-Api-Key", b"sk-ant-secret-hunter2"), path=b"/v2/messages")
        self.add(BodyTooLarge("Too large."), (b"Authorization", b"Bearer sk-proj-secret-hunter2"))
        self.add(Unauthorized("Unknown gateway key.", reason="there is no key aib_...xy"), (b"User-Agent", b"curl/8"))
        self.add(HeadersTooLarge("Head too large."), method=b"")
        self.assertEqual(
            self.lines,
            [
                "refused with 404: POST /v2/messages from Claude Code, credential sk-a...r2: Not found.",
                "refused with 413: POST /x from Unknown, credential sk-p...r2, actor alice: Too large.",
                "refused with 401: POST /x from curl/8: there is no key aib_...xy",
                "refused with 431: - /x from Unknown: Head too large.",
            ],
        )
        fields = {
            "event": "request_refused",
            "status": "refused",
            "http_status": 404,
            "method": "POST",
            "path": "/v2/messages",
            "client": "Claude Code",
        }
        self.assertEqual({name: self.events[0][name] for name in fields}, fields)

    def test_nothing_forged(self) -> None:
        """A line stays one line of bounded length, whatever the client sends."""
        self.add(RouteUnknown("x"), (b"User-Agent", b"a\nb\x1b[31m" + b"c" * 9999), path=b"/\r\n\xff" + b"y" * 9999)
        [line] = self.lines
        self.assertTrue(line.isprintable())
        self.assertLess(len(line), 400)

    def test_secrets_in_the_wrong_place(self) -> None:
        """Long segments of a path are shown as a secret's hint is, in the reason too; a base URL is shown."""
        key = "sk-proj-secret-hunter2"
        self.add(RouteUnknown(f"No provider is named '{key}' here."), path=f"/{key}/v1/messages".encode())
        self.add(RouteUnknown(f"openai has no route '/v1/models/{key}' here."), path=f"/openai/v1/{key}".encode())
        self.add(RouteUnknown("Set the base URL to http://gateway.example.com:8080/anthropic: …"), path=b"/v1/messages")
        self.assertEqual(
            self.lines,
            [
                "refused with 404: POST /sk-p...r2/v1/messages from Unknown: No provider is named 'sk-p...r2' here.",
                "refused with 404: POST /openai/v1/sk-p...r2 from Unknown: "
                "openai has no route '/v1/models/sk-p...r2' here.",
                "refused with 404: POST /v1/messages from Unknown: "
                "Set the base URL to http://gateway.example.com:8080/anthropic: …",
            ],
        )

    def test_bounded(self) -> None:
        """Ten lines a minute for each kind of refusal; the next one says how many were left out."""
        for number in range(100):
            self.add(RouteUnknown(f"No route {number}."))
        self.add(Unauthorized("Gateway key expired."))
        self.assertEqual(len(self.lines), 11)
        self.clock.advance(59.9)
        self.add(RouteUnknown("No route."))
        self.assertEqual(len(self.lines), 11)
        self.clock.advance(0.1)
        self.add(RouteUnknown("No route."))
        self.add(RouteUnknown("No route."))
        self.assertTrue(self.lines[11].endswith("No route. (and 91 more since the last such line)"), self.lines[11])
        self.assertTrue(self.lines[12].endswith("No route."), self.lines[12])

    def test_no_noise(self) -> None:
        """Probes without a credential and refused WebSockets have no line."""
        self.add(RouteUnknown("Not found."), CLAUDE, method=b"HEAD")
        self.add(UpgradeRefused("No WebSockets."), CLAUDE, method=b"GET")
        self.assertEqual(self.lines, [])
        self.add(RouteUnknown("Not found."), (b"api-key", b"k"), method=b"HEAD")
        self.assertEqual(self.lines, ["refused with 404: HEAD /x from Unknown: Not found."])
