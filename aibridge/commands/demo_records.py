"""A plausible month of records, for trying out the console: the same every time, up to the day on which it ends."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from attrs import define, field

from ..record.records import (
    CANCELLED,
    CENTRALIZED,
    COMPLETED,
    FAILED,
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    PromptUsageRecord,
    Record,
    TokenUsageRecord,
    ToolUsageRecord,
)

DAYS = 30
CAPS = (("group", "core", 30 * 10**9), ("group", "apps", 20 * 10**9), ("actor", "alice", 12 * 10**9))
"""The scopes and names of monthly caps, with their nanodollars: a month of work comes close to the first."""

PEOPLE = {
    **dict.fromkeys(("alice", "bob", "chen", "dana"), "core"),
    **dict.fromkeys(("emil", "fatima", "grace"), "apps"),
    **dict.fromkeys(("hugo", "ines"), "data"),
    "release-bot": "platform",
}
"""The actors, each with a team."""
_WORK = {"alice": 3.0, "chen": 2.0, "release-bot": 0.6, "ines": 0.5}
"""Sessions on a working day; others have one and a half."""
_MODELS = {  # provider, client, first bytes in ms, then nanodollars of a token: input, output, cache read and write
    "claude-opus-5-5": ("anthropic", "Claude Code", 1900, (5000, 25000, 250, 6250)),
    "claude-sonnet-5-5": ("anthropic", "Claude Code", 1100, (3000, 15000, 150, 3750)),
    "gpt-5.6": ("openai", "Codex", 1400, (1750, 14000, 175, 0)),
    "gpt-5.6-mini": ("openai", "OpenAI SDK", 600, (250, 2000, 25, 0)),
}
_WEIGHTS = (2, 5, 3, 1)
_PROMPTS = (
    "Why does the export stop after ten thousand rows? Find out and mend it.",
    "Write a test that shows the race between the two writers.",
    "Rename the column in all three services, with a migration.",
    "Explain what this stack trace says, in two sentences.",
    "The build is red since yesterday. What changed?",
    "Make the settings page usable with a keyboard.",
    "Which endpoints have no authorization check?",
    "Summarize the incident of last week from the notes in docs/incidents.",
)
_TOOLS = {"Bash": {"command": "git log --oneline -5"}, "Read": {"file_path": "src/export.py"}, "Edit": {}, "Grep": {}}
_WIKI = ("search", "https://wiki.internal.example/mcp")
_FAILURES = ("overloaded_error (HTTP 529)", "rate_limit_error (HTTP 429)", "the provider's answer broke off")


def make_month(until: datetime) -> Iterator[list[Record]]:
    """Yield the records of each session of the 30 days that end then."""
    random_ = random.Random(20260131)  # noqa: S311 - the same every time is what is wanted
    midnight = until.replace(hour=0, minute=0, second=0, microsecond=0)
    for day in range(DAYS - 1, -1, -1):
        date = midnight - timedelta(days=day)
        for person in PEOPLE:
            share = 1.0 if date.weekday() < 5 or person == "release-bot" else 0.1
            wanted = (
                _WORK.get(person, 1.5) * share * random_.uniform(0.5, 1.5) * (4 if (person, day) == ("dana", 0) else 1)
            )
            for _ in range(int(wanted + random_.random())):
                began = date + timedelta(hours=random_.triangular(7, 19, 10), seconds=random_.random())
                session = _Session(random_, person, began)
                yield [record for record in session.records() if _moment_of(record) < until]


def _moment_of(record: Record) -> datetime:
    moment: datetime = getattr(record, "created_at", None) or getattr(record, "ended_at", None) or record.started_at  # type: ignore[union-attr]
    return moment


@define
class _Session:
    """A session of somebody who asks a few things, each of which takes some rounds with tools."""

    random: random.Random
    person: str
    at: datetime
    model: str = field(init=False)
    id: UUID = field(init=False)
    _context: int = field(default=9_000, init=False)
    _call: str | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        [self.model] = self.random.choices([*_MODELS], _WEIGHTS)
        self.id = self._id()

    def records(self) -> Iterator[Record]:
        """Yield the records of all interceptions."""
        for _ in range(self.random.randint(1, 4)):
            prompt: str | None = self.random.choice(_PROMPTS)
            for rest in range(self.random.randint(0, 7), -1, -1):
                yield from self._interception(prompt, calls=rest > 0)
                prompt = None
            self.at += timedelta(seconds=self.random.uniform(20, 600))

    def _interception(self, prompt: str | None, *, calls: bool) -> Iterator[Record]:
        provider, client, usual, prices = _MODELS[self.model]
        of, began = self._id(), self.at
        first_byte = self.random.lognormvariate(0, 0.5) * usual
        output = int(self.random.lognormvariate(5.2, 0.9))
        self.at += timedelta(milliseconds=first_byte + output * 14)
        status = self.random.choices((COMPLETED, FAILED, CANCELLED), (96, 2, 2))[0]
        yield InterceptionRecord(
            id=of,
            initiator_id=self.person,
            provider=provider,
            provider_name=provider,
            model=self.model,
            client=client,
            client_session_id=str(self.id),
            user_agent={"Claude Code": "claude-cli/2.1.7 (external, cli)", "Codex": "codex_cli_rs/0.92.0"}.get(client),
            correlating_tool_call_id=self._call if prompt is None else None,
            credential_kind=CENTRALIZED,
            credential_hint="sk-a...xy",
            started_at=began,
            streaming=True,
            upstream_requests=1,
            metadata={"team": PEOPLE[self.person]},
        )
        if prompt is not None:
            yield PromptUsageRecord(
                id=self._id(),
                interception_id=of,
                provider_response_id=f"msg_{of.hex[:20]}",
                prompt=prompt,
                created_at=began,
            )
        if status != FAILED:
            yield self._tokens(of, output, prices)
        if status == COMPLETED:
            yield from self._answer(of, calls)
        yield InterceptionRecordEnded(
            id=of,
            status=status,
            error=self.random.choice(_FAILURES) if status == FAILED else None,
            ended_at=self.at,
            http_status=529 if status == FAILED else 200,
            upstream_requests=1,
            first_byte_ms=None if status == FAILED else first_byte,
        )

    def _tokens(self, of: UUID, output: int, prices: tuple[int, int, int, int]) -> TokenUsageRecord:
        fresh, written = self.random.randint(3, 400), self.random.randint(200, 4000)
        read, self._context = self._context, self._context + written + output
        written = written if prices[3] else 0
        counts = (fresh, output, read, written)
        return TokenUsageRecord(
            id=self._id(),
            interception_id=of,
            provider_response_id=f"msg_{of.hex[:20]}",
            served_model=self.model,
            input_tokens=fresh,
            output_tokens=output,
            cache_read_input_tokens=read,
            cache_write_input_tokens=written,
            cost_nanousd=sum(count * price for count, price in zip(counts, prices, strict=True)),
            price_version="demo",
            created_at=self.at,
            metadata={"complete": True},
        )

    def _answer(self, of: UUID, calls: bool) -> Iterator[Record]:
        """Yield a thought now and then, and the calls that lead to the next interception."""
        if self.random.random() < 0.3:
            yield ModelThoughtRecord(
                id=self._id(),
                interception_id=of,
                content="The log says where it stops. I look at the last rows before that first.",
                created_at=self.at,
                metadata={"source": "thinking"},
            )
        if not calls:
            return
        if self.random.random() < 0.15:
            failed = self.random.random() < 0.1
            yield ToolUsageRecord(
                id=self._id(),
                interception_id=of,
                provider_response_id=f"msg_{of.hex[:20]}",
                tool_call_id=f"toolu_{self._id().hex[:20]}",
                tool=_WIKI[0],
                server_url=_WIKI[1],
                input={"query": "export limits"},
                injected=True,
                invocation_error="the tool did not answer within 60 seconds" if failed else None,
                duration_ms=60_000.0 if failed else self.random.lognormvariate(6, 0.6),
                created_at=self.at,
            )
        self._call = f"toolu_{self._id().hex[:20]}"
        tool = self.random.choice([*_TOOLS])
        yield ToolUsageRecord(
            id=self._id(),
            interception_id=of,
            provider_response_id=f"msg_{of.hex[:20]}",
            tool_call_id=self._call,
            tool=tool,
            input=_TOOLS[tool],
            created_at=self.at,
        )

    def _id(self) -> UUID:
        """Return a UUID of version 7 of the session's present moment."""
        number = int(self.at.timestamp() * 1000) << 80 | 7 << 76 | self.random.getrandbits(12) << 64
        return UUID(int=number | 0b10 << 62 | self.random.getrandbits(62))
