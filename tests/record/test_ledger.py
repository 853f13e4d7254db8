"""The rows of one interception."""

import pickle
import random
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import RFC_4122, UUID

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from aibridge.errors import RecordingError
from aibridge.interfaces import IBatchRecorder
from aibridge.record.batches import batch_writer, gather_writes
from aibridge.record.ledger import Ledger, RoundResult
from aibridge.record.values import new_id, text_of, utc_now
from aibridge.testing import MemoryRecorder
from aibridge.wire.formats import Answer, Thought, ToolCall
from aibridge.wire.tool_calls import InjectedCall, InjectedTool, ToolResult
from aibridge.wire.usage import anthropic_token_counts

from .samples import ended, interception


class LedgerTestCase(SynchronousTestCase):
    """A ledger on a recorder in memory."""

    def setUp(self):
        self.recorder = MemoryRecorder()
        self.record = interception()
        self.ledger = self.ledger_of("how deep?")
        self.ended = ended(self.record.id)
        self.answer = Answer(
            response_id="msg_1",
            usage={
                "input_tokens": 1,
                "output_tokens": 2,
                "cache_read_input_tokens": 3,
                "cache_creation_input_tokens": 4,
                "x": 5,
            },
            tool_calls=[ToolCall("t1", "weather", {"city": "Oslo"}), ToolCall(None, "now", "text", {"type": "custom"})],
            thoughts=[Thought("Hm.", "thinking"), Thought("So.", "commentary")],
            finished=True,
        )

    def ledger_of(self, prompt):
        return Ledger(batch_writer(self.recorder), self.record.id, prompt)

    def result(self, answer=None, injected=()):
        answer = answer or self.answer
        return RoundResult(answer, anthropic_token_counts(answer.usage), injected)

    def rows(self, table):
        return list(getattr(self.recorder, table).values())


class AnswerTests(LedgerTestCase):
    """The records of an answer."""

    def test_begin(self):
        """The interception's row comes first, as it is."""
        self.assertIsNone(self.successResultOf(self.ledger.record_begin(self.record)))
        self.assertEqual(self.recorder.history, [self.record])

    def test_all_rows(self):
        """One row of tokens, the prompt, every call and every thought, all under the interception and the answer."""
        self.successResultOf(self.ledger.record_begin(self.record))
        self.successResultOf(self.ledger.record_round(self.result()))
        [usage], [prompt] = self.rows("token_usages"), self.rows("prompts")
        self.assertEqual(
            (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens, usage.cache_write_input_tokens),
            (1, 2, 3, 4),
        )
        self.assertEqual(usage.metadata, {"x": 5, "complete": True})
        self.assertEqual(prompt.prompt, "how deep?")
        tools, thoughts = self.rows("tool_usages"), self.rows("thoughts")
        self.assertEqual(
            [(row.tool_call_id, row.tool, row.input) for row in tools],
            [("t1", "weather", {"city": "Oslo"}), (None, "now", "text")],
        )
        self.assertEqual([row.metadata for row in tools], [{}, {"type": "custom"}])
        self.assertFalse(any(row.injected for row in tools))
        self.assertEqual(
            [(row.content, row.metadata) for row in thoughts],
            [("Hm.", {"source": "thinking"}), ("So.", {"source": "commentary"})],
        )
        for row in (usage, prompt, *tools, *thoughts):
            self.assertEqual(row.interception_id, self.record.id)
            self.assertEqual(getattr(row, "provider_response_id", "msg_1"), "msg_1")
            self.assertEqual(row.created_at.tzinfo, UTC)
        self.assertEqual(self.rows("ended"), [])

    def test_end(self):
        """The end is recorded together with the last answer, and after it."""
        self.successResultOf(self.ledger.record_end(self.ended, self.result()))
        self.assertEqual(self.recorder.history[-1], self.ended)
        self.assertEqual(len(self.recorder.history), 7)

    def test_broken_off(self):
        """An answer that broke off has its row, which says so."""
        self.answer.finished = False
        self.successResultOf(self.ledger.record_round(self.result()))
        self.assertIs(self.rows("token_usages")[0].metadata["complete"], False)

    def test_counter_named_complete(self):
        """A provider's counter with the name ``complete`` does not replace the gateway's."""
        self.answer.usage["complete"] = 7
        self.successResultOf(self.ledger.record_round(self.result()))
        self.assertIs(self.rows("token_usages")[0].metadata["complete"], True)

    def test_served(self):
        """The row says by which model and in which tier the answer was served."""
        self.answer.served_model, self.answer.service_tier = "model-2", "flex"
        self.successResultOf(self.ledger.record_round(self.result()))
        [row] = self.rows("token_usages")
        self.assertEqual(
            (row.served_model, row.service_tier, row.speed, row.inference_geo), ("model-2", "flex", None, None)
        )

    def test_iterations(self):
        """A step that is billed beside the answer has a row of its own, which a later version of it replaces."""
        steps = [
            {"type": "compaction", "input_tokens": 8},
            {"type": "advisor_message", "model": "big", "output_tokens": 9},
        ]
        self.answer.served_model, self.answer.usage = "model-2", {"input_tokens": 1, "iterations": steps[:1]}
        self.successResultOf(self.ledger.record_progress(self.record, self.result()))
        early = [row.id for row in self.rows("token_usages")]
        self.answer.usage["iterations"] = steps
        self.successResultOf(self.ledger.record_round(self.result()))
        rows = self.rows("token_usages")
        self.assertEqual([row.id for row in rows][:2], early)
        facts = [(row.served_model, row.input_tokens, row.output_tokens, row.metadata.get("iteration")) for row in rows]
        self.assertEqual(facts, [("model-2", 1, 0, None), (None, 8, 0, "compaction"), ("big", 0, 9, "advisor_message")])
        self.assertEqual(rows[0].metadata, {"iterations": steps, "complete": True})
        self.assertEqual({row.provider_response_id for row in rows}, {"msg_1"})

    def test_no_answer(self):
        """Without an answer there are no tokens; the prompt is recorded all the same."""
        self.successResultOf(self.ledger.record_end(self.ended, None))
        self.assertEqual((self.rows("token_usages"), self.rows("tool_usages")), ([], []))
        [prompt] = self.rows("prompts")
        self.assertIsNone(prompt.provider_response_id)

    def test_no_prompt(self):
        """A turn without a prompt has no row of one."""
        self.successResultOf(self.ledger_of(None).record_round(self.result()))
        self.assertEqual(self.rows("prompts"), [])


class RoundsTests(LedgerTestCase):
    """An interception of several answers, between which the gateway runs tools."""

    def setUp(self):
        super().setUp()
        tool = InjectedTool("bmcp_sky_weather", "sky", "https://sky.test/mcp", "weather", "", {})
        self.ran = ToolResult(
            InjectedCall("t1", tool, '{"city":"Oslo"}'),
            [{"type": "text", "text": "rain"}],
            error="it rains",
            duration_ms=12.5,
        )

    def test_tokens_of_each(self):
        """Each answer has its own row of tokens; the prompt is asked once, and the first answer's."""
        self.successResultOf(self.ledger.record_progress(self.record, self.result()))
        self.successResultOf(self.ledger.record_round(self.result()))
        second = Answer(response_id="msg_2", usage={"output_tokens": 9}, finished=True)
        self.successResultOf(self.ledger.record_progress(self.record, self.result(second)))
        self.successResultOf(self.ledger.record_round(self.result(second)))
        usages = [(row.provider_response_id, row.output_tokens) for row in self.rows("token_usages")]
        self.assertEqual(usages, [("msg_1", 2), ("msg_2", 9)])
        self.assertEqual([row.provider_response_id for row in self.rows("prompts")], ["msg_1"])

    def test_own_calls(self):
        """Calls of injected tools are recorded once they have been run, with their results."""
        self.successResultOf(self.ledger.record_round(self.result(injected={"t1"})))
        self.assertEqual([row.tool for row in self.rows("tool_usages")], ["now"])
        self.successResultOf(self.ledger.record_tool_results(self.answer, [self.ran]))
        row = self.rows("tool_usages")[-1]
        self.assertEqual((row.tool_call_id, row.tool, row.input), ("t1", "weather", {"city": "Oslo"}))
        self.assertEqual((row.injected, row.server_url), (True, "https://sky.test/mcp"))
        self.assertEqual((row.invocation_error, row.duration_ms), ("it rains", 12.5))
        self.assertEqual(row.output, [{"type": "text", "text": "rain"}])

    def test_all_durable(self):
        """Several writes are waited for together; if one fails, all fail together, and nothing is logged."""
        first, second = Deferred(), Deferred()
        both = gather_writes([first, second])
        first.errback(OSError("disk"))
        self.assertNoResult(both)
        second.callback(None)
        self.failureResultOf(both, RecordingError)
        self.successResultOf(gather_writes([]))


class ProgressTests(LedgerTestCase):
    """A long answer is recorded as it goes."""

    def test_replaced(self):
        """Its figures so far are there, marked as such, and become the final ones in the same row."""
        answer = Answer(response_id="msg_1", usage={"output_tokens": 1})
        self.successResultOf(self.ledger.record_progress(self.record, self.result(answer)))
        [early] = self.rows("token_usages")
        self.assertEqual((early.output_tokens, early.metadata["complete"]), (1, False))
        self.assertEqual(self.rows("ended"), [])
        self.successResultOf(self.ledger.record_round(self.result()))
        [final] = self.rows("token_usages")
        self.assertEqual((final.id, final.output_tokens, final.metadata["complete"]), (early.id, 2, True))
        self.assertEqual(len(self.rows("prompts")), 1)

    def test_upstream_requests(self):
        """With the figures so far, and with each round, comes what the provider was asked until then."""
        self.successResultOf(self.ledger.record_begin(self.record))
        for asked in (1, 2):
            record = evolve(self.record, upstream_requests=asked)
            written = (
                self.ledger.record_progress(record, self.result()),
                self.ledger.record_round(self.result(), record),
            )
            for each in written:
                self.successResultOf(each)
            self.assertEqual(self.rows("interceptions"), [record])

    def test_prompt_of_a_failed_progress(self):
        """A prompt that could not be written on the way is written at the end."""
        self.recorder.fail_with(OSError("disk"))
        self.failureResultOf(self.ledger.record_progress(self.record, self.result()), RecordingError)
        self.recorder.fail_with(None)
        self.successResultOf(self.ledger.record_round(self.result()))
        self.assertEqual([row.prompt for row in self.rows("prompts")], ["how deep?"])


class TogetherTests(LedgerTestCase):
    """A recorder that takes the records of a step together gets them so."""

    def setUp(self):
        super().setUp()
        self.recorder = Together()
        self.ledger = self.ledger_of("how deep?")

    def test_at_once(self):
        """One call for each step, whatever it consists of."""
        self.successResultOf(self.ledger.record_begin(self.record))
        self.successResultOf(self.ledger.record_end(self.ended, self.result()))
        self.assertEqual([len(records) for records in self.recorder.calls], [1, 7])

    def test_one_that_fails(self):
        """If it fails, the step fails."""
        self.recorder.outcome = fail(RecordingError("disk"))
        self.failureResultOf(self.ledger.record_begin(self.record), RecordingError)


@implementer(IBatchRecorder)
class Together:
    """A recorder that takes all records of a step together."""

    outcome = None

    def __init__(self):
        self.calls = []

    def record_all(self, records):
        self.calls.append(records)
        return self.outcome or succeed(None)


class DurabilityTests(LedgerTestCase):
    """A Deferred that fires is a promise."""

    def test_waits_for_all(self):
        """A step's Deferred fires when its last row is durable."""
        self.recorder.hold()
        ending = self.ledger.record_round(self.result())
        self.assertNoResult(ending)
        self.assertEqual(len(self.recorder.held), 6)
        self.recorder.release()
        self.successResultOf(ending)

    def test_one_that_fails(self):
        """A step fails, with the reason, if one of its rows can't be made durable; nothing is logged."""
        self.recorder.fail_with(OSError("disk"))
        for writing in (
            self.ledger.record_begin(self.record),
            self.ledger.record_progress(self.record, self.result()),
            self.ledger.record_round(self.result()),
            self.ledger.record_end(self.ended, self.result()),
        ):
            failure = self.failureResultOf(writing, RecordingError)
            self.assertIsInstance(failure.value.__cause__, OSError)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_one_that_raises(self):
        """A host's recorder may raise where it should have failed."""
        self.recorder = SimpleNamespace(record_interception=lambda record: {}["missing"])
        self.failureResultOf(self.ledger_of(None).record_begin(self.record), RecordingError)

    def test_one_that_fails_with_a_class(self):
        """A host's Deferred that fails with an exception's class fails the step, too: nobody is left waiting."""
        self.recorder = SimpleNamespace(record_interception=lambda record: fail(OSError))
        self.failureResultOf(self.ledger_of(None).record_begin(self.record), RecordingError)


class IdTests(SynchronousTestCase):
    """Ids of rows."""

    def test_order_is_times(self):
        """Ids are UUIDs of version 7 whose first bits are the time in milliseconds."""
        before = time.time_ns() // 1_000_000
        found = new_id()
        after = time.time_ns() // 1_000_000
        self.assertEqual((found.version, found.variant), (7, RFC_4122))
        self.assertTrue(before <= found.int >> 80 <= after)

    def test_uuids(self):
        """Ids equal in every respect those that `uuid` makes of the same number."""
        found = new_id()
        same = UUID(int=found.int)
        self.assertEqual((found, hash(found), str(found), repr(found)), (same, hash(same), str(same), repr(same)))
        self.assertEqual((found.is_safe, pickle.loads(pickle.dumps(found))), (same.is_safe, same))
        self.assertEqual(text_of(found), str(same))

    def test_no_two_alike(self):
        """No two ids are equal, however many are made at once."""
        self.assertEqual(len({new_id() for _ in range(5000)}), 5000)

    def test_host_that_seeds(self):
        """A host that seeds the shared generator, as simulations and tests do, makes no id come again."""
        state = random.getstate()
        self.addCleanup(random.setstate, state)
        noise = set()
        for _ in range(3):
            random.seed(1)
            noise.add(new_id().int & (1 << 62) - 1)
        self.assertEqual(len(noise), 3)

    def test_now(self):
        """Records' times are aware, and in UTC."""
        self.assertEqual(utc_now().utcoffset(), timedelta(0))
        self.assertLess(abs(utc_now() - datetime.now(UTC)), timedelta(seconds=5))
