"""The Responses API as messages of a WebSocket: the tap on them, and errors of the gateway's own."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import BadRequest, BudgetSpent, Draining, ProviderError, TooManyRequests
from aibridge.wire.formats import Verdict
from aibridge.wire.responses.reader import ResponsesReader, error_message
from aibridge.wire.tap import MessageTap


def message(kind: str, **members: Any) -> bytes:
    return json.dumps({"type": kind, **members}, separators=(",", ":")).encode()


class MessageTapTests(SynchronousTestCase):
    """Each piece is a whole event."""

    def test_passes(self) -> None:
        """Every event passes as it is, and the last one is held until it is released."""
        tap = MessageTap(ResponsesReader())
        first = message("response.created", response={"id": "resp_1"})
        self.assertEqual(tap.feed(first), first)
        delta = message("response.output_text.delta", delta="Hi")
        self.assertEqual(tap.feed(delta), delta)
        last = b" " + message("response.completed", response={"id": "resp_1", "usage": {"input_tokens": 3}})
        self.assertEqual((tap.feed(last), tap.at_end), (b"", True))
        self.assertEqual((tap.answer.finished, tap.answer.usage), (True, {"input_tokens": 3}))
        self.assertEqual((tap.release(), tap.release()), (last, b""))

    def test_error(self) -> None:
        """An error is the last event."""
        tap = MessageTap(ResponsesReader())
        error = message("error", status=429, error={"type": "requests"})
        self.assertEqual((tap.feed(error), tap.at_end, tap.answer.error), (b"", True, "requests"))
        self.assertEqual(tap.release(), error)

    def test_verdicts(self) -> None:
        """Events are dropped, replaced and changed at their release, as the reader decides."""

        class Reader(ResponsesReader):
            def read_event(self, data: bytes) -> Verdict:
                return verdicts[data]

        verdicts = {
            b"a": Verdict(passes=False),
            b"b": Verdict(data=b"B"),
            b"c": Verdict(last=True, data=b"C", at_release=lambda data: data + b"!"),
        }
        tap = MessageTap(Reader())
        self.assertEqual([tap.feed(data) for data in (b"a", b"b", b"c")], [b"", b"B", b""])
        self.assertEqual(tap.release(), b"C!")

    @given(st.lists(st.binary(max_size=60)))
    def test_anything(self, pieces: list[bytes]) -> None:
        """Whatever comes passes, and raises nothing."""
        tap = MessageTap(ResponsesReader())
        passed = b"".join(map(tap.feed, pieces))
        tap.close()
        self.assertEqual(passed + tap.release(), b"".join(pieces))


class ErrorTests(SynchronousTestCase):
    """Clients read an error with a status as a response of HTTP."""

    def test_form(self) -> None:
        """The error has OpenAI's object, the status, the headers that clients act on, and its number."""
        self.assertEqual(
            json.loads(error_message(TooManyRequests("Slow down.", 7), 4)),
            {
                "type": "error",
                "status": 429,
                "error": {"message": "Slow down.", "type": "requests", "param": None, "code": "rate_limit_exceeded"},
                "headers": {"Retry-After": "7"},
                "sequence_number": 4,
            },
        )
        self.assertEqual(json.loads(error_message(BadRequest("No."), 0))["headers"], {"X-Should-Retry": "false"})

    def test_headers(self) -> None:
        """Codex's own header is among them; that of the connection is not."""
        spent = json.loads(error_message(BudgetSpent("No money left.", 60, resets_at=9), 0))
        self.assertEqual(spent["headers"]["X-Codex-Promo-Message"], "No money left.")
        self.assertEqual(spent["error"]["resets_at"], 9)
        self.assertNotIn("Connection", json.loads(error_message(Draining("Bye."), 0))["headers"])

    def test_provider(self) -> None:
        """A provider's error keeps the provider's status."""
        error = ProviderError("Slow.", fields={"code": "x"}, provider_status=429)
        told = json.loads(error_message(error, 0))
        self.assertEqual((told["status"], told["error"]["code"]), (429, "x"))
