"""The lines that refused requests leave in the log."""

from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from aibridge import Actor, Limits
from aibridge.errors import Unauthorized

from .apis import MESSAGES, OWN
from .gateway import ChainTestCase


class RefusalLineTests(ChainTestCase):
    """Requests that the gateway refuses, before and after it knows who sends them."""

    def setUp(self) -> None:
        super().setUp()
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: LogEvent) -> None:
        """Keep a line about a refusal."""
        if event["log_namespace"] == "aibridge.refusal_log":
            self.lines.append(formatEvent(event))

    def refused(self, target: str, body: bytes = b"", **headers: str) -> str:
        """The beginning of the line of such a request, up to the reason."""
        self.lines.clear()
        client = self.connect()
        fields = {"User-Agent": "opencode/1.18", "x-api-key": OWN}
        client.send("POST", target, body, fields | {name.replace("_", "-"): value for name, value in headers.items()})
        self.network.settle()
        [line] = self.lines
        self.assertNotIn(OWN, line)
        self.assertTrue(line.startswith(f"refused with {client.answer.status}: POST {target}"), line)
        return line.removeprefix(f"refused with {client.answer.status}: ")

    def test_known_actor(self) -> None:
        """The line of a request after authentication names the actor."""
        self.start(authenticate=lambda request: Actor("alice"), limits=Limits(requests_per_minute=1))
        hint = f"{OWN[:4]}...{OWN[-2:]}"
        who = f"POST {MESSAGES.path} from OpenCode, credential {hint}, actor alice: "
        self.assertEqual(self.refused(MESSAGES.path, b"{}"), who + "model: Field required: the name of a model.")
        self.assertTrue(self.refused(MESSAGES.path, MESSAGES.body()).startswith(who + "Rate limit reached"))

    def test_nobody(self) -> None:
        """The line of a rejected credential has the operator's reason."""

        def reject(request: object) -> Actor:
            raise Unauthorized("Unknown key.", reason="the reason")

        self.start(authenticate=reject)
        self.assertTrue(self.refused(MESSAGES.path).endswith(": the reason"))

    def test_wrong_base_url(self) -> None:
        """The line of a 421 has the words that the client is shown."""
        self.assertIn(": Set the base URL to ", self.refused("/v1/messages"))

    def test_before_it_is_read(self) -> None:
        """Requests that are refused before they are complete have a line too, with what is known of them."""
        line = self.refused(MESSAGES.path, Content_Length=str(1 << 30))
        self.assertIn(" from OpenCode, credential ", line)
        self.lines.clear()
        client = self.connect()
        client.raw(f"POST {MESSAGES.path} HTTP/1.1\r\nX-Large: ".encode() + b"x" * 20_000)
        self.network.settle()
        [line] = self.lines
        self.assertTrue(line.startswith(f"refused with 431: - {MESSAGES.path} from Unknown: "), line)
