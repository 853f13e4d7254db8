"""The questions that the API answers, each with its parameters, its role and its kind of answer."""

from collections.abc import Callable, Mapping
from datetime import datetime
from uuid import UUID

from attrs import frozen
from sqlalchemy import Connection

from ..insight.budgets import budgets
from ..insight.contents import prompts
from ..insight.filters import FILTERS, PAGING, Filter, InvalidParameter
from ..insight.interceptions import interception, interceptions
from ..insight.keys import keys
from ..insight.rows import (
    BudgetRow,
    InterceptionDetail,
    InterceptionRow,
    KeyRow,
    Overview,
    PersonRow,
    PromptRow,
    SearchHit,
    SessionDetail,
    SessionRow,
    ToolRow,
    UsageRow,
)
from ..insight.search import search
from ..insight.sessions import session, sessions
from ..insight.tools import tools
from ..insight.usage import models, overview, parse_groups, people, usage
from ..record.budgets.settings import BudgetSettings
from .problems import not_found
from .roles import ADMIN, AUDITOR, VIEWER


@frozen(kw_only=True)
class Asked:
    """A question as it was asked."""

    wanted: Filter
    extra: Mapping[str, str]
    """Parameters that are no filters, such as ``group_by``."""
    subject: str
    """The last segment of the path, of a question about one thing."""
    content: bool
    """True if the answer may have contents."""
    now: datetime
    budget: BudgetSettings
    """The settings of budgets: their periods depend on the time zone."""


@frozen(kw_only=True)
class Question:
    """A question of the API."""

    title: str
    ask: Callable[[Connection, Asked], object]
    row: type
    """The class of the answer, or of the rows of its pages."""
    is_list: bool = True
    parameters: tuple[str, ...] = (*FILTERS, *PAGING)
    extra: Mapping[str, str] = {}
    """Further parameters that it needs, each with its description."""
    role: str = VIEWER
    has_content: bool = False
    """True if an auditor sees content in the answer, which is recorded then."""


def _interception(connection: Connection, asked: Asked) -> InterceptionDetail:
    try:
        found = interception(connection, UUID(asked.subject), content=asked.content)
    except ValueError:
        found = None
    if found is None:
        raise not_found("There is no interception of that id.")
    return found


def _session(connection: Connection, asked: Asked) -> SessionDetail:
    found = session(connection, asked.subject, asked.wanted, content=asked.content)
    if found is None:
        raise not_found("There is no session of that id.")
    return found


def _search(connection: Connection, asked: Asked) -> object:
    if not asked.extra["q"].strip():
        raise InvalidParameter("q", "Parameter 'q' must have the words to search for.")
    return search(connection, asked.wanted, asked.extra["q"])


_WITHOUT_SPAN = tuple(name for name in FILTERS if name not in ("from", "to"))

QUESTIONS: Mapping[str, Question] = {
    "overview": Question(
        title="The figures of today, of 7 days and of 30 days, and what they consist of.",
        ask=lambda connection, asked: overview(connection, asked.wanted, asked.now),
        row=Overview,
        is_list=False,
        parameters=_WITHOUT_SPAN,
    ),
    "sessions": Question(
        title="Sessions of clients, the last active first.",
        ask=lambda connection, asked: sessions(connection, asked.wanted, content=asked.content),
        row=SessionRow,
        has_content=True,
    ),
    "sessions/{id}": Question(
        title="A session with its interceptions in the order of time, 500 at a time.",
        ask=_session,
        row=SessionDetail,
        is_list=False,
        parameters=("actor", "client", "cursor"),
        has_content=True,
    ),
    "interceptions": Question(
        title="Interceptions, newest first.",
        ask=lambda connection, asked: interceptions(connection, asked.wanted),
        row=InterceptionRow,
    ),
    "interceptions/{id}": Question(
        title="Everything that is recorded of an interception.",
        ask=_interception,
        row=InterceptionDetail,
        is_list=False,
        parameters=(),
        has_content=True,
    ),
    "prompts": Question(
        title="Users' prompts, newest first.",
        ask=lambda connection, asked: prompts(connection, asked.wanted, content=asked.content),
        row=PromptRow,
        role=AUDITOR,
        has_content=True,
    ),
    "tools": Question(
        title="Tools by the number of their calls.",
        ask=lambda connection, asked: tools(connection, asked.wanted, asked.now),
        row=ToolRow,
    ),
    "people": Question(
        title="Actors by their costs, each compared with their own usual day.",
        ask=lambda connection, asked: people(connection, asked.wanted, asked.now),
        row=PersonRow,
    ),
    "models": Question(
        title="Models by their costs.",
        ask=lambda connection, asked: models(connection, asked.wanted, asked.now),
        row=UsageRow,
    ),
    "usage": Question(
        title="Sums of what is grouped together.",
        ask=lambda connection, asked: usage(connection, asked.wanted, parse_groups(asked.extra["group_by"]), asked.now),
        row=UsageRow,
        extra={"group_by": "One or more of hour, day, month, actor, team, provider, model and client."},
    ),
    "search": Question(
        title="Prompts and tool calls that have all of some words, newest first.",
        ask=_search,
        row=SearchHit,
        extra={"q": "The words."},
        role=AUDITOR,
        has_content=True,
    ),
    "budgets": Question(
        title="Caps on money, with what is spent of each in its present period.",
        ask=lambda connection, asked: budgets(connection, asked.budget, asked.now),
        row=BudgetRow,
        parameters=(),
        role=ADMIN,
    ),
    "keys": Question(
        title="The gateway's own keys, newest first.",
        ask=lambda connection, asked: keys(connection, asked.wanted, asked.now),
        row=KeyRow,
        parameters=("actor", *PAGING),
        role=ADMIN,
    ),
}
"""By path below ``/api/v1/``; ``{id}`` stands for any one segment."""
