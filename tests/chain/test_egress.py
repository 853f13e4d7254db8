"""Providers behind a proxy."""

from aibridge.testing import CannedServer

from .apis import CHAT, MESSAGES
from .gateway import ChainTestCase

PROXY_PORT = 3128
REFUSAL = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"


class ProxyTests(ChainTestCase):
    """What a client learns of its provider's proxy."""

    def setUp(self) -> None:
        super().setUp()
        self.start({"proxy": f"http://user:hunter2@192.0.2.3:{PROXY_PORT}"})

    def test_refused(self) -> None:
        """A proxy that refuses is named with its status, to the client and in the row; its credentials are not."""
        for api in (MESSAGES, CHAT):
            self.network.serve(PROXY_PORT, CannedServer(REFUSAL))
            answer = self.answer(api)
            message = f"{api.provider}: the proxy 192.0.2.3:3128 refused the connection with status 407"
            self.assertEqual(answer.status, 502)
            self.assertTrue(answer.json["error"]["message"].startswith(message), answer.json)
            self.assertEqual(self.exchanges[-1].ended.error, answer.json["error"]["message"])
            self.assertNotIn(b"hunter2", bytes(answer.body))

    def test_down(self) -> None:
        """A proxy that is down is told from a provider that is down."""
        answer = self.answer(MESSAGES)
        self.assertEqual(answer.json["error"]["message"], "anthropic: the proxy 192.0.2.3:3128 refused the connection.")
        self.assertEqual(self.exchange.ended.upstream_requests, 3)
