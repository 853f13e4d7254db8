"""The pages of what happened: sessions and their stories, requests, and the search."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from attrs import frozen

from ...insight.filters import FILTERS
from ...insight.rows import InterceptionDetail, SessionDetail, TokenUsage, ToolCall
from ...insight.search import SearchOff
from ..roles import AUDITOR
from .page import Page, Values, Visit

_LONGEST_HEADING = 100
MOST_LANES = 6
"""Lanes of a time line that have a place of their own; further ones share the last."""


@frozen(kw_only=True)
class Round:
    """An answer of the provider within an interception, and the tools that it called."""

    number: int
    usage: TokenUsage
    calls: Sequence[ToolCall]
    is_hidden: bool
    """True if the client saw nothing of the answer's end: the gateway ran its tools and asked again."""


@frozen(kw_only=True)
class Bar:
    """An interception on the time line; places and widths are in thousandths of the line."""

    step: InterceptionDetail
    x: int
    width: int


def rounds_of(detail: InterceptionDetail) -> list[Round]:
    """Return the rounds of an interception; what is billed beside an answer is no round of its own."""
    answers = [usage for usage in detail.token_usages if "iteration" not in usage.metadata]
    known = {usage.provider_response_id for usage in answers}
    rounds = []
    for number, usage in enumerate(answers, 1):
        calls = [call for call in detail.tool_usages if call.provider_response_id == usage.provider_response_id]
        if number == len(answers):  # calls whose answer has no row of its own
            calls += [call for call in detail.tool_usages if call.provider_response_id not in known]
        rounds.append(Round(number=number, usage=usage, calls=calls, is_hidden=number < len(answers)))
    return rounds


def time_line(steps: Sequence[InterceptionDetail]) -> list[Bar]:
    """Return the bars of a session's time line."""
    if not steps:
        return []

    def end_of(step: InterceptionDetail) -> datetime:
        return step.interception.ended_at or step.interception.started_at

    first = steps[0].interception.started_at
    whole = max(max(map(end_of, steps)) - first, timedelta(milliseconds=1))
    return [
        Bar(
            step=step,
            x=round(1000 * ((step.interception.started_at - first) / whole)),
            width=max(3, round(1000 * ((end_of(step) - step.interception.started_at) / whole))),
        )
        for step in steps
    ]


def heading_of(found: SessionDetail) -> str:
    """Return the heading of a session's page: its first words, where they are kept and may be seen."""
    words = " ".join((found.session.first_prompt or "").split())
    return f"{words[:_LONGEST_HEADING]}…" if len(words) > _LONGEST_HEADING else words or "Session"


async def sessions(visit: Visit) -> Values:
    """Read the sessions."""
    return {"page": await visit.ask("sessions")}


async def session(visit: Visit) -> Values:
    """Read a session's story."""
    found: SessionDetail = await visit.ask("sessions/{id}")
    numbers = {step.interception.id: number for number, step in enumerate(found.interceptions, 1)}
    return {
        "heading": heading_of(found),
        "found": found,
        "bars": time_line(found.interceptions),
        "numbers": numbers,
        "rounds_of": rounds_of,
        "most_lanes": MOST_LANES,
    }


async def interceptions(visit: Visit) -> Values:
    """Read the requests."""
    return {"page": await visit.ask("interceptions")}


async def interception(visit: Visit) -> Values:
    """Read everything that is recorded of a request."""
    found: InterceptionDetail = await visit.ask("interceptions/{id}")
    return {"heading": str(found.interception.id), "detail": found, "rounds_of": rounds_of}


async def search(visit: Visit) -> Values:
    """Search, once there are words."""
    words = visit.value("q").strip()
    try:
        page = await visit.ask("search") if words else None
    except SearchOff as error:
        return {"page": None, "words": words, "off": str(error)}
    return {"page": page, "words": words, "off": None}


PAGES: Mapping[str, Page] = {
    "sessions": Page(title="Sessions", template="sessions.html", load=sessions, filters=FILTERS, nav="Sessions"),
    "sessions/{id}": Page(title="Session", template="session.html", load=session),
    "interceptions": Page(
        title="Requests", template="interceptions.html", load=interceptions, filters=FILTERS, nav="Requests"
    ),
    "interceptions/{id}": Page(title="Request", template="interception.html", load=interception),
    "search": Page(
        title="Search",
        template="search.html",
        load=search,
        filters=FILTERS,
        parameters=("q",),
        nav="Search",
        role=AUDITOR,
    ),
}
