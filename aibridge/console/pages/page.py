"""A page of the console: a path, a title, a template, and the function that reads its values."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlencode

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from ...insight.filters import FILTERS, PAGING
from ...record.budgets.budget_store import BudgetStore
from ..accounts import form_token
from ..api import Api
from ..roles import VIEWER, Visitor
from ..visitors import Access

Values = dict[str, object]
"""The values of a template, by name."""

_ASKED = (*FILTERS, *PAGING, "q")
"""The parameters of pages that are parameters of their questions too."""

ANYONE = "anyone"
"""The role of a page that is for everyone who is signed in."""


class Site(Protocol):
    """The site of the pages, as a page sees it."""

    @property
    def api(self) -> Api:
        """The API, with its queries."""

    @property
    def access(self) -> Access:
        """The rights of visitors, their sessions, and the audit."""

    @property
    def budgets(self) -> BudgetStore:
        """The budgets."""

    async def ask(self, visitor: Visitor, name: str, subject: str, arguments: Mapping[str, Sequence[str]]) -> Any:
        """Return the answer to one of the API's questions, with its rights, its checks and its audit."""

    async def state(self) -> Sequence[object]:
        """Return the state of the gateway's parts."""


@define(kw_only=True)
class Visit:
    """A request for a page."""

    site: Site
    request: Any
    visitor: Visitor | None
    """None on pages that need no role."""
    arguments: Mapping[str, Sequence[str]]
    """The parameters of the query; an empty one is no parameter."""
    subject: str = ""
    """The last segment of the path, on a page about one thing."""
    form: Mapping[str, str] = field(factory=dict)
    """The fields of a form that was sent."""

    @property
    def who(self) -> Visitor:
        """The visitor, on a page that needs a role."""
        assert self.visitor is not None
        return self.visitor

    @property
    def token(self) -> str:
        """The token that the session's forms carry; empty without a session."""
        session = self.visitor.session if self.visitor is not None else None
        return form_token(session) if session is not None else ""

    async def ask(self, name: str, **changes: Sequence[str]) -> Any:
        """Return the answer to one of the API's questions, with this page's parameters and these changes."""
        arguments = {key: values for key, values in self.arguments.items() if key in _ASKED}
        return await self.site.ask(self.who, name, self.subject, {**arguments, **changes})

    def value(self, name: str, default: str = "") -> str:
        """Return a parameter of the query."""
        return next(iter(self.arguments.get(name, ())), default)

    def link(self, path: str | None = None, **changes: str | None) -> str:
        """Return the path of a page with this page's parameters and these changes; None takes a parameter away.

        The cursor of a page is never taken along: it belongs to one list.
        """
        kept = {name: values[0] for name, values in self.arguments.items() if name != "cursor"}
        renamed = {name.rstrip("_"): value for name, value in changes.items()}  # `from` is a word of Python
        merged = {name: value for name, value in {**kept, **renamed}.items() if value is not None}
        path = self.request.path.decode("ascii", "replace") if path is None else path
        return f"{path}?{urlencode(merged)}" if merged else path


@frozen(kw_only=True)
class Page:
    """A page."""

    title: str
    template: str
    load: Callable[[Visit], Coroutine["Deferred[Any]", Any, Values]]
    """Reads the values of the template."""
    role: str | None = VIEWER
    """The role that it needs, or `ANYONE`; None for a page that is open to all."""
    filters: Sequence[str] = ()
    """The filters that it offers."""
    parameters: Sequence[str] = ()
    """Further parameters that it takes."""
    nav: str = ""
    """The name of its entry in the navigation; empty for a page that is part of another."""
    actions: Mapping[str, Callable[[Visit], Coroutine["Deferred[Any]", Any, Values]]] = {}
    """The functions of its forms, by the form's name. A function returns values for the page, or ``leads_to`` with the
    path of another one."""
