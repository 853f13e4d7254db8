"""Branches of one conversation, forked at one answer: each goes on as it went."""

import re
from typing import Any

import orjson

from aibridge.testing import FakeProvider, Reply, ToolCall, quiet_site

from ..tools.checking import Examiner
from .apis import CHAT, MESSAGES, RESPONSES, Api
from .gateway import PROVIDER_PORT, ChainTestCase
from .toolbox import ScriptedToolbox

Json = dict[str, Any]


class Branch:
    """A client's view of a conversation. `fork` begins another one at the same place."""

    def __init__(self, test: "BranchTestCase", items: list[Json], previous: str | None = None) -> None:
        self._test = test
        self.items = items
        self.previous = previous
        self.calls: list[str] = []

    def fork(self) -> "Branch":
        return Branch(self._test, [*self.items], self.previous)

    def say(self, words: str) -> str:
        return self._ask([{"role": "user", "content": words}])

    def bring(self, result: str) -> str:
        """Send the result of each of the client's calls."""
        return self._ask(self._test.results(self.calls, result))

    def _ask(self, items: list[Json]) -> str:
        self.items = [*self.items, *items]
        stored = self._test.stores
        previous = {"previous_response_id": self.previous} if stored and self.previous else {}
        sent = items if stored else self.items
        text, said, self.calls, self.previous = self._test.exchange(sent, previous)
        self.items += said
        return text


class BranchTestCase(ChainTestCase):
    """A provider that checks what it gets."""

    api: Api
    stream = True
    stores = False
    keeps_ids = True

    def setUp(self) -> None:
        super().setUp()
        self.examiner = Examiner()
        self.provider = FakeProvider(self.examiner, clock=self.network)
        self.network.serve(PROVIDER_PORT, quiet_site(self.provider, self.network))
        self.start(toolbox=ScriptedToolbox("tides"))

    def exchange(self, items: list[Json], members: Json) -> tuple[str, list[Json], list[str], str | None]:
        """Return the answer's text, its items, the ids of the client's calls and the answer's id."""
        key = "input" if self.api is RESPONSES else "messages"
        if self.api is RESPONSES and not self.stores:
            members |= {"store": False, "include": ["reasoning.encrypted_content"]}
        answer = self.answer(self.api, stream=self.stream, tools=self.api.tools(["look"]), **{key: items}, **members)
        self.assertEqual((answer.status, answer.whole), (200, True), bytes(answer.body))
        return self.read(bytes(answer.body))

    def read(self, body: bytes) -> tuple[str, list[Json], list[str], str | None]:
        raise NotImplementedError

    def results(self, calls: list[str], result: str) -> list[Json]:
        raise NotImplementedError

    def last_calls(self) -> list[str]:
        """The arguments of all calls in the latest request to the provider, in their order."""
        return [part.decode() for part in re.findall(rb"at:([a-z-]+)", self.provider.requests[-1].body)]


class Branches:
    """The behaviour in every API."""

    def hidden(self: Any, name: str, *, call_id: str | None, text: str = "Wait. ") -> Reply:
        return Reply(text=text, tool_calls=[ToolCall("bmcp_sky_tides", {"at": f"at:{name}"}, id=call_id)])

    def mixed(self: Any, name: str, *, ids: tuple[str | None, str | None]) -> Reply:
        ours, theirs = ids
        calls = [
            ToolCall("bmcp_sky_tides", {"at": f"at:{name}-ours"}, id=ours),
            ToolCall("look", {"at": f"at:{name}-theirs"}, id=theirs),
        ]
        return Reply(text="Both. ", thinking=f"t-{name}", tool_calls=calls)

    def run_branches(
        self: Any, ours: str | None, theirs: str | None, words: tuple[str, str], texts: tuple[str, str]
    ) -> None:
        examiner = self.examiner
        trunk = Branch(self, [])
        examiner.say(self.hidden("trunk", call_id=ours), Reply(text="High."))
        trunk.say("tides?")
        branches = dict(zip("xy", (trunk.fork(), trunk.fork()), strict=True))
        answers = dict(zip("xy", texts, strict=True))
        questions = dict(zip("xy", words, strict=True))
        for name, branch in branches.items():
            examiner.say(self.hidden(name, call_id=ours), Reply(text=answers[name]))
            branch.say(questions[name])
        for name, branch in branches.items():
            examiner.say(self.mixed(name, ids=(ours, theirs)))
            branch.say(f"and {name}?")
        for name, branch in branches.items():
            examiner.say(Reply(text="Done."))
            branch.bring(f"seen {name}")
            if not self.stores:
                self.assertEqual(self.last_calls(), ["trunk", name, f"{name}-ours", f"{name}-theirs"])
        for name, branch in branches.items():
            examiner.say(Reply(text="Bye."))
            branch.say("bye")
            if not self.stores:
                self.assertEqual(self.last_calls(), ["trunk", name, f"{name}-ours", f"{name}-theirs"])
        self.assertEqual((examiner.problems, len(examiner.sayings)), ([], 0))

    def test_branches(self: Any) -> None:
        """Other words in each branch."""
        self.run_branches(None, None, ("x?", "y?"), ("So x.", "So y."))

    def test_same_answers(self: Any) -> None:
        """The same answer in both branches, to other words."""
        self.run_branches(None, None, ("x?", "y?"), ("So.", "So."))

    def test_same_words(self: Any) -> None:
        """The same words in both branches: an answer that the user wanted again."""
        self.run_branches(None, None, ("again?", "again?"), ("So x.", "So y."))

    def test_same_call_ids(self: Any) -> None:
        """A provider that numbers the calls of each answer anew."""
        self.run_branches("call_0", "call_1", ("x?", "y?"), ("So x.", "So y."))


class ResponsesBranches(Branches, BranchTestCase):
    """Responses, kept by the client."""

    api = RESPONSES

    def read(self, body: bytes) -> tuple[str, list[Json], list[str], str | None]:
        events = (
            [orjson.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: ")] if self.stream else []
        )
        response = events[-1]["response"] if events else orjson.loads(body)
        output = response["output"]
        text = "".join(item["content"][0]["text"] for item in output if item["type"] == "message")
        calls = [item["call_id"] for item in output if item["type"] == "function_call"]
        if not self.keeps_ids:
            output = [
                {key: value for key, value in item.items() if key != "id"}
                for item in output
                if item["type"] != "reasoning"
            ]
        return text, output, calls, response["id"]

    def results(self, calls: list[str], result: str) -> list[Json]:
        return [{"type": "function_call_output", "call_id": call, "output": result} for call in calls]


class ResponsesAtOnce(ResponsesBranches):
    """The same, not streamed."""

    stream = False


class StoredBranches(ResponsesBranches):
    """Responses, kept by the provider."""

    stores = True


class WithoutIds(ResponsesBranches):
    """Responses, kept by a client that leaves out the items' ids."""

    keeps_ids = False


class ChatBranches(Branches, BranchTestCase):
    """Chat completions."""

    api = CHAT
    stream = False

    def read(self, body: bytes) -> tuple[str, list[Json], list[str], str | None]:
        message = orjson.loads(body)["choices"][0]["message"]
        return message["content"] or "", [message], [call["id"] for call in message.get("tool_calls") or []], None

    def results(self, calls: list[str], result: str) -> list[Json]:
        return [{"role": "tool", "tool_call_id": call, "content": result} for call in calls]


class MessagesBranches(Branches, BranchTestCase):
    """Messages."""

    api = MESSAGES
    stream = False

    def read(self, body: bytes) -> tuple[str, list[Json], list[str], str | None]:
        content = orjson.loads(body)["content"]
        text = "".join(block["text"] for block in content if block["type"] == "text")
        calls = [block["id"] for block in content if block["type"] == "tool_use"]
        return text, [{"role": "assistant", "content": content}], calls, None

    def results(self, calls: list[str], result: str) -> list[Json]:
        blocks = [{"type": "tool_result", "tool_use_id": call, "content": result} for call in calls]
        return [{"role": "user", "content": blocks}]
