"""Many exchanges of all kinds at once."""

from itertools import product
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults

from aibridge.testing import Ending, Question, RawReply, Reply, ToolCall

from ..chain.apis import APIS, Api
from .gateway import GatewayTestCase

PLAIN, TOOLS, REFUSED, CUT, ERROR_FRAME = "plain", "tools", "refused", "cut", "error frame"
WANTED = {PLAIN: "completed", TOOLS: "completed", REFUSED: "failed", CUT: "failed", ERROR_FRAME: "failed"}


@frozen
class Case:
    """One of the many; its prompt tells it from the others."""

    number: int
    api: Api
    stream: bool
    kind: str

    @property
    def prompt(self) -> str:
        return f"{self.number} {self.kind}"


def cases() -> list[Case]:
    """A hundred and eight: every kind in every API, streaming and not, several times."""
    kinds = (PLAIN, PLAIN, TOOLS, REFUSED, CUT, ERROR_FRAME)
    combined = product(range(3), APIS, (False, True), kinds)
    return [Case(number, api, stream, kind) for number, (_, api, stream, kind) in enumerate(combined)]


def reply_to(question: Question) -> Reply | RawReply:
    """What the provider says, by the prompt."""
    number, _, kind = question.prompt.partition(" ")
    if kind == REFUSED:
        body = b'{"error":{"type":"slow_down","message":"no"},"type":"error"}'
        return RawReply(status=429, headers={"content-type": "application/json"}, chunks=[body])
    if kind == CUT:
        return Reply(text=f"answer {number} " * 200, stop_after=2, ending=Ending.CUT)
    if kind == ERROR_FRAME:
        return Reply(text=f"answer {number}", stop_after=3, ending=Ending.ERROR) if question.streaming else Reply()
    calls = [ToolCall("look", {"at": number, "again": again}) for again in range(3)] if kind == TOOLS else []
    return Reply(text=f"answer {number}", thinking=f"thought {number}", tool_calls=calls)


class MixedTests(GatewayTestCase):
    """Formats, streams, tools and errors, all at once, recorded in SQLite."""

    async def setUp(self) -> None:
        super().setUp()
        self.with_sqlite()
        self.provider._script = reply_to
        self.url = await self.start()

    async def run_case(self, case: Case) -> Any:
        body = case.api.body(case.prompt, stream=case.stream)
        return case, await self.answer(self.url, case.api, body)

    async def test_rows(self) -> None:
        """The rows of each are complete, right and its own, compared with what the provider says it sent."""
        done = await gatherResults([Deferred.fromCoroutine(self.run_case(case)) for case in cases()])
        by_id = {str(exchange.begun.id): exchange for exchange in self.exchanges}
        self.assertEqual(len(by_id), len(done))
        faults = []
        for case, answer in done:
            exchange = by_id[answer.header("x-aibridge-interception-id")]
            faults += [f"{case}: {fault}" for fault in self.faults(case, answer, exchange)]
        self.assertEqual(faults, [])

    def faults(self, case: Case, answer: Any, exchange: Any) -> list[str]:
        """What is wrong with one of them."""
        if case.kind in (PLAIN, TOOLS):
            reply = self.provider.sent[exchange.response_id]
            found = list(exchange.faults(case.api, reply, case.prompt))
            if f"answer {case.number}".replace(" ", "") not in without_frames(answer):
                found.append("the answer is another's")
            return found
        status = WANTED[case.kind] if case.stream or case.kind != ERROR_FRAME else "completed"
        checks = {
            "prompt": [row.prompt for row in exchange.prompts] == [case.prompt],
            "status": exchange.end == (status, answer.status),
            "whole": answer.whole == (not (case.stream and case.kind == CUT)),
            "complete": [row.metadata["complete"] for row in exchange.usages] in ([], [status == "completed"]),
            "error": bool(exchange.ended.error) == (status == "failed"),
        }
        return [name for name, right in checks.items() if not right]


def without_frames(answer: Any) -> str:
    """An answer's bytes with what stands between two pieces of its text taken out, roughly."""
    import re

    text = answer.body.decode()
    deltas = re.findall(r'"(?:delta|content|text)":"((?:[^"\\]|\\.)*)"', text)
    return "".join(deltas).replace(" ", "")
