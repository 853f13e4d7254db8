"""The content policy: which contents are kept, and which are not."""

from typing import cast

from twisted.trial.unittest import TestCase

from aibridge.errors import RecordingError
from aibridge.interfaces import IRecorder
from aibridge.record.records import OpenAnswer
from aibridge.recorder import ContentPolicy, FilteredRecorder
from aibridge.testing import MemoryRecorder

from .contract import RecorderContract, record
from .memory import OnMemory
from .samples import exchange, interception, prompt, thought, token_usage, tool_usage

EVERYTHING = ContentPolicy(tool_results=True)
NOTHING = ContentPolicy(prompts=False, tool_arguments=False, thoughts=False)


class PolicyTests(TestCase):
    """Each content can be left out; the row stays."""

    def kept(self, policy: ContentPolicy) -> MemoryRecorder:
        memory = MemoryRecorder()
        for value in exchange():
            self.successResultOf(record(FilteredRecorder(memory, policy), value))
        return memory

    def test_default(self) -> None:
        """By default everything is kept except the results of tools."""
        memory = self.kept(ContentPolicy())
        (called,) = memory.tool_usages.values()
        assert (called.input is not None, called.output) == (True, None)
        assert all(asked.prompt for asked in memory.prompts.values())
        assert all(thinking.content for thinking in memory.thoughts.values())

    def test_nothing(self) -> None:
        """With all switched off, each row is there, without its content."""
        memory = self.kept(NOTHING)
        (called,) = memory.tool_usages.values()
        assert (called.tool, called.input, called.output) == ("ask", None, None)
        assert [asked.prompt for asked in memory.prompts.values()] == [None]
        assert [thinking.content for thinking in memory.thoughts.values()] == [None]
        assert len(memory.token_usages) == len(memory.interceptions) == len(memory.ended) == 1

    def test_tool_results(self) -> None:
        """The result of an injected tool is kept if the policy says so; everything else of the call in any case."""
        for kept, output in ((True, "text"), (False, None)):
            (called,) = self.kept(ContentPolicy(tool_results=kept)).tool_usages.values()
            assert called.output == output
            assert (called.injected, called.invocation_error, called.duration_ms) == (True, "it broke", 12.5)

    def test_failure(self) -> None:
        """A record that the recorder behind it can't keep fails."""
        memory = MemoryRecorder()
        memory.fail_with(RecordingError("full"))
        filtered = FilteredRecorder(memory, NOTHING)
        begun = interception()
        for value in (begun, prompt(begun.id), tool_usage(begun.id), thought(begun.id)):
            self.failureResultOf(record(filtered, value), RecordingError)

    def test_behind_it(self) -> None:
        """A recorder in front of another does what that one can do, and nothing where it can't."""
        begun = interception()
        early = token_usage(begun.id, provider_response_id="early", metadata={"complete": False})
        memory = MemoryRecorder()
        filtered = FilteredRecorder(memory, NOTHING)
        self.successResultOf(filtered.record_all([begun, early]))
        found = OpenAnswer(begun.id, early.id)
        self.assertEqual(self.successResultOf(filtered.find_open_answer("early")), found)
        self.assertIsNone(self.successResultOf(filtered.release()))
        without_index = FilteredRecorder(cast(IRecorder, object()), NOTHING)
        self.assertIsNone(self.successResultOf(without_index.find_open_answer("early")))


class FilteredRecorderTests(OnMemory, RecorderContract):
    """With a policy that keeps everything, a filtered recorder is a recorder like any other."""

    def setUp(self) -> None:
        super().setUp()
        self.recorder = FilteredRecorder(self.memory, EVERYTHING)
