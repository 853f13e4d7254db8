"""Nothing unrecorded: when the rows become durable, and when they can't."""

from typing import Any

from aibridge.errors import RecordingError
from aibridge.record.records import InterceptionRecord, InterceptionRecordEnded
from aibridge.testing import Reply, ToolCall

from .apis import CHAT, MESSAGES, RESPONSES, Api
from .gateway import ChainTestCase

REPLY = Reply(text="one two three", thinking="hm", tool_calls=[ToolCall("look", {"at": "it"})])


class DurabilityContract:
    """What holds in every API, blocking and streaming."""

    api: Api
    stream: bool

    def begin(self: Any) -> Any:
        """A client that has sent its request."""
        self.provider.say(REPLY)
        return self.ask(self.api, stream=self.stream)

    def begin_with_held_end(self: Any) -> Any:
        """A client whose answer is there, with rows that are not durable."""
        self.recorder.hold()
        client = self.begin()
        self.network.settle()
        self.recorder.release()
        self.recorder.hold()
        self.network.wait(3)
        return client

    def test_no_call_before_the_row(self: Any) -> None:
        """The provider isn't called before the interception's row is durable."""
        self.recorder.hold()
        client = self.begin()
        self.network.wait(5)
        self.assertEqual([type(row) for row in self.recorder.held], [InterceptionRecord])
        self.assertEqual((self.network.attempts, len(self.provider.requests), client.answers), (0, 0, []))
        self.recorder.release()
        self.network.wait(3)
        self.assertTrue(client.answer.whole)

    def test_no_end_before_the_rows(self: Any) -> None:
        """The answer's last piece isn't handed over before each of its rows is durable."""
        client = self.begin_with_held_end()
        self.assertIsInstance(self.recorder.held[-1], InterceptionRecordEnded)
        wanted = bytes(self.direct(self.api.body(stream=self.stream), self.api, REPLY).body)
        if self.stream:
            body = bytes(client.answer.body)
            self.assertTrue(wanted.startswith(body))
            self.assertNotIn(self.api.last, body)
            self.assertEqual(wanted[len(body) :].count(self.api.last), 1)
            self.assertFalse(client.answer.whole)
        else:
            self.assertTrue(client.answers == [] or client.answer.body == b"")
        self.recorder.release()
        self.network.settle()
        self.assertEqual((bytes(client.answer.body), client.answer.whole), (wanted, True))

    def test_recorder_away_at_the_beginning(self: Any) -> None:
        """What can't be recorded isn't begun: 503 with Retry-After, in the API's shape."""
        self.recorder.fail_with(RecordingError("away"))
        client = self.begin()
        self.network.settle()
        answer = client.answer
        self.assertEqual((answer.status, answer.whole, self.network.attempts), (503, True, 0))
        self.assertGreater(int(answer.header("retry-after")), 0)
        self.assertTrue(self.api.error_of(answer.json))
        self.recorder.fail_with(None)

    def test_recorder_away_at_the_end(self: Any) -> None:
        """An answer whose rows can't be kept never is a whole one."""
        client = self.begin_with_held_end()
        self.recorder.fail_with(RecordingError("away"))
        self.recorder.release()
        self.network.wait(10)
        answer = client.answer
        self.assertNotIn(self.api.last, answer.body)
        if self.stream:
            self.assertEqual((answer.status, answer.whole, client.closed), (200, False, True))
            self.assertTrue(self.api.error_event(bytes(answer.body)))
        else:
            self.assertEqual((answer.status, answer.whole), (503, True))
            self.assertTrue(self.api.error_of(answer.json))
            self.assertGreater(int(answer.header("retry-after")), 0)
        self.recorder.fail_with(None)

    def test_client_leaves_while_its_row_is_written(self: Any) -> None:
        """Then the provider isn't called any more, and the row says that the client cancelled."""
        self.recorder.hold()
        client = self.begin()
        self.network.settle()
        client.leave()
        self.network.settle()
        self.recorder.release()
        self.network.settle()
        self.assertEqual((self.network.attempts, self.exchange.end), (0, ("cancelled", None)))

    def test_client_leaves_while_the_end_is_recorded(self: Any) -> None:
        """Then the exchange was complete all the same, and nothing is left open."""
        client = self.begin_with_held_end()
        client.leave()
        self.network.settle()
        self.recorder.release()
        self.network.settle()
        [sent] = self.provider.sent.values()
        self.assertEqual(self.exchange.faults(self.api, sent, "ping"), [])
        self.assertEqual(self.bridge.in_flight, 0)


class StreamContract(DurabilityContract):
    """What only streams have."""

    stream = True

    def test_figures_so_far(self: Any) -> None:
        """A stream older than two seconds has its row already, marked as not complete, replaced at its end."""
        self.provider.say(Reply(text="word " * 400))
        client = self.ask(self.api, stream=True)
        self.network.wait(2.5)
        row = self.exchange.usages[0]
        self.assertFalse(row.metadata["complete"])
        self.assertIsNone(self.exchange.ended)
        self.assertEqual(self.exchange.begun.upstream_requests, 1)
        self.network.wait(5)
        self.assertTrue(client.answer.whole)
        [sent] = self.provider.sent.values()
        self.assertEqual((self.exchange.faults(self.api, sent, "ping"), self.exchange.usages[0].id), ([], row.id))


class BlockingMessagesDurabilityTests(DurabilityContract, ChainTestCase):
    api, stream = MESSAGES, False


class BlockingChatDurabilityTests(DurabilityContract, ChainTestCase):
    api, stream = CHAT, False


class BlockingResponsesDurabilityTests(DurabilityContract, ChainTestCase):
    api, stream = RESPONSES, False


class StreamingMessagesDurabilityTests(StreamContract, ChainTestCase):
    api = MESSAGES


class StreamingChatDurabilityTests(StreamContract, ChainTestCase):
    api = CHAT


class StreamingResponsesDurabilityTests(StreamContract, ChainTestCase):
    api = RESPONSES
