"""The site of the pages: finds the page of a path, learns who looks, and answers with HTML."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from ...insight.filters import PAGING, STATUSES, InvalidParameter
from ...record.budgets.budget_store import BudgetStore
from ..accounts import is_form_token
from ..api import Api
from ..problems import Problem, ProblemError, forbidden, not_found, problem_of
from ..questions import QUESTIONS
from ..roles import SELF, Visitor
from ..visitors import NotSignedIn, refuse_foreign_origin
from . import figures, manage, own, sign_in, stories
from .page import ANYONE, Page, Values, Visit
from .render import render
from .responses import redirect, send, send_file
from .state import read_state

_log = Logger()

PAGES: Mapping[str, Page] = {
    **figures.PAGES,
    **stories.PAGES,
    **manage.PAGES,
    **own.PAGES,
    **sign_in.PAGES,
}
"""The pages by path; ``{id}`` stands for any one segment."""

_ORDER = ("", "sessions", "interceptions", "people", "models", "tools", "search", "keys", "budgets")
"""The order of the navigation."""

_TITLES = {400: "Wrong address", 401: "Not signed in", 403: "Not allowed", 404: "Not found", 503: "Not now"}
_LONGEST_FORM = 64 * 1024

Report = Callable[[], Awaitable[Mapping[str, Any]]]
"""Returns the readiness report of the gateway."""


class Pages(Resource):
    """All pages and their static files.

    :param api: answers the pages' questions.
    :param budgets: the budgets, which administrators set.
    :param report: tells the state of the gateway, for the overview.
    :param on_request: called after each request with the page's path and the status.
    """

    isLeaf = True

    def __init__(self, api: Api, budgets: BudgetStore, report: Report, on_request: Callable[[str, int], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.api = api
        self.budgets = budgets
        self.access = api.access
        self._report = report
        self._on_request = on_request

    def render(self, request: Any) -> int:
        """Answer a request, unless its client leaves before."""
        answering = Deferred.fromCoroutine(self._answer(request))
        request.notifyFinish().addErrback(lambda _: answering.cancel())
        answering.addErrback(lambda failure: failure.trap(CancelledError))
        return NOT_DONE_YET

    async def ask(self, visitor: Visitor, name: str, subject: str, arguments: Mapping[str, Sequence[str]]) -> Any:
        """Return the answer to one of the API's questions, with its rights, its checks and its audit."""
        return await self.api.ask(visitor, name, QUESTIONS[name], subject, arguments)

    async def state(self) -> Sequence[object]:
        """Return the state of the gateway's parts, as the overview shows it."""
        return read_state(await self._report())

    async def _answer(self, request: Any) -> None:
        segments = [unquote(segment.decode("ascii", "replace")) for segment in request.path.split(b"/") if segment]
        if len(segments) == 2 and segments[0] == "static":
            send_file(request, segments[1])
            return
        path, subject = _find(segments)
        visit = Visit(site=self, request=request, visitor=None, arguments={}, subject=subject)
        try:
            await self._open(visit, path)
        except CancelledError:
            raise
        except NotSignedIn as error:
            if error.needs_password and request.method == b"GET":
                redirect(request, f"/sign-in?next={quote(request.uri.decode('ascii', 'replace'), safe='')}")
            else:
                self._explain(visit, error)
        except Exception as error:
            self._explain(visit, error)
        self._on_request(path if path in PAGES else "unknown", request.code)

    async def _open(self, visit: Visit, path: str) -> None:
        """Send a page, after its form's action if a form was sent."""
        request, page = visit.request, PAGES.get(path)
        if page is None:
            raise not_found("There is no such page.")
        visit.arguments = _arguments_of(request, page)
        if page.role is not None:
            visit.visitor = await self.access.identify(request)
            if visit.visitor.role == SELF and path == "":
                redirect(request, "/me")
                return
            if page.role not in (ANYONE, visit.visitor.role) and not visit.visitor.may(page.role):
                raise forbidden(page.role)
        values: Values = {"done": {}, "problem": None, "form": {}}
        if request.method == b"POST":
            values |= await self._act(visit, page)
            if "leads_to" in values:
                redirect(request, str(values["leads_to"]))
                return
        values |= await page.load(visit)
        self._send(visit, page.title, page.template, {"offered": page.filters, **values})

    async def _act(self, visit: Visit, page: Page) -> Values:
        """Do what a form asks for. A form of another site, or of another session, is refused."""
        request = visit.request
        refuse_foreign_origin(request)
        request.content.seek(0)
        body = request.content.read(_LONGEST_FORM).decode("utf-8", "replace")
        fields = parse_qs(body, keep_blank_values=True, max_num_fields=100)
        visit.form = {name: values[0] for name, values in fields.items()}
        session = visit.visitor.session if visit.visitor is not None else None
        if session is not None and not is_form_token(session, visit.form.get("token", "")):
            raise ProblemError(Problem(status=403, code="forbidden", message="This form is old. Open its page again."))
        action = page.actions.get(visit.form.get("action", ""))
        if action is None:
            raise ProblemError(Problem(status=405, code="method_not_allowed", message="This page has no such form."))
        try:
            return {"form": visit.form, **await action(visit)}
        except Exception as error:
            problem = problem_of(error)
            if problem is None or problem.status in (403, 503):
                raise
            request.setResponseCode(problem.status)
            for header, text in problem.headers.items():
                request.setHeader(header, text)
            return {"problem": problem.message, "form": visit.form}

    def _explain(self, visit: Visit, error: Exception) -> None:
        """Send the page of an error."""
        problem = problem_of(error)
        if problem is None:
            _log.failure("The console could not show {path}.", path=visit.request.path.decode("ascii", "replace"))
            problem = Problem(status=500, code="internal", message="The gateway failed; its log says why.")
        visit.request.setResponseCode(problem.status)
        title = _TITLES.get(problem.status, "That did not work")
        self._send(visit, title, "error.html", {"message": problem.message, "field": problem.field})

    def _send(self, visit: Visit, title: str, template: str, values: Values) -> None:
        visitor = visit.visitor
        is_self = visitor is not None and visitor.role == SELF
        shown: Values = {
            "page_title": title,
            "heading": None,
            "visit": visit,
            "visitor": visitor,
            "token": visit.token,
            "visible": visitor is not None and (visitor.sees_content or is_self),
            "navigation": _navigation(visitor),
            "home": "/me" if is_self else "/",
            "base": "/me" if is_self else "",
            "current": "/" + visit.request.path.decode("ascii", "replace").strip("/").partition("/")[0],
            "statuses": STATUSES,
        }
        send(visit.request, render(template, {**shown, **values}))


def _arguments_of(request: Any, page: Page) -> dict[str, list[str]]:
    """Return the parameters of a page's address. `InvalidParameter` for one that the page does not take."""
    # A form's fields are none of them, whatever the site makes of its body.
    query = request.uri.decode("ascii", "replace").partition("?")[2]
    arguments = {name: values for name, values in parse_qs(query).items() if any(values)}
    known = (*page.filters, *page.parameters, *PAGING)
    for name in arguments:
        if name not in known:
            raise InvalidParameter(name, f"Unknown parameter {name[:50]!r}. This page knows: {', '.join(known)}.")
    return arguments


def _find(segments: Sequence[str]) -> tuple[str, str]:
    """Return the path of a page, and the id in it."""
    path = "/".join(segments)
    if path not in PAGES and segments:
        return "/".join([*segments[:-1], "{id}"]), segments[-1]
    return path, ""


def _navigation(visitor: Visitor | None) -> list[tuple[str, str]]:
    """Return the pages that a visitor may open, each with its path."""
    if visitor is None:
        return []
    if visitor.role == SELF:
        return [("/me", "Your sessions")]
    offered = [(name, PAGES[name]) for name in _ORDER if name in PAGES]
    return [(f"/{name}", page.nav) for name, page in offered if page.role is not None and visitor.may(page.role)]
