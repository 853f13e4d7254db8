"""What becomes of an exchange's memory when the exchange is over."""

import gc

from aibridge.interception import Interception
from aibridge.upstream.relay import Relay
from aibridge.web.site import GatewayRequest

from .apis import CHAT, MESSAGES, RESPONSES
from .gateway import ChainTestCase


class GarbageTests(ChainTestCase):
    """The process looks for garbage seldom, so there must be little to find."""

    def setUp(self) -> None:
        super().setUp()
        gc.collect()  # of what other tests left
        gc.disable()
        self.addCleanup(gc.enable)

    def test_freed_at_once(self) -> None:
        """Nothing of an exchange that is over waits for the garbage collector."""
        for api in (MESSAGES, CHAT, RESPONSES):
            for stream in (False, True):
                self.assertTrue(self.answer(api, stream=stream).whole)
        left = [each for each in gc.get_objects() if isinstance(each, Interception | Relay | GatewayRequest)]
        self.assertEqual(left, [])
