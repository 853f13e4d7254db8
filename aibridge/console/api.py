"""The query API of the operator's site: ``/api/v1/…``."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import orjson
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from ..insight.filters import InvalidParameter, parse_filter, single_value
from ..insight.query_pool import QueryPool
from ..record.budgets.budget_store import BudgetStore
from ..record.budgets.settings import BudgetSettings
from ..record.values import utc_now
from ..wire.jsontext import dump
from .budget_actions import BUDGET_ACTIONS
from .export_stream import ExportStream, read_export
from .headers import set_private_headers
from .json_rows import json_of
from .key_actions import KEY_ACTIONS
from .openapi import make_document
from .problems import Problem, ProblemError, forbidden, not_found, problem_of
from .questions import QUESTIONS, Asked, Question
from .roles import Visitor
from .visitors import Access, refuse_foreign_origin

_log = Logger()

OnRequest = Callable[[str, int], None]
"""Called after each request with the question's name and the status."""

Answer = tuple[int, object]
"""A status and a JSON value; None for no body."""

EXPORTED: Answer = (200, "exported")
"""Stands for an answer that has been written already."""

Action = Callable[[Any, Visitor, str, Mapping[str, object]], Coroutine["Deferred[Any]", Any, Answer]]


ACTIONS: Mapping[tuple[str, str], Action] = {**KEY_ACTIONS, **BUDGET_ACTIONS}
"""By method and path."""


class Api(Resource):
    """The API's root."""

    isLeaf = True

    def __init__(self, access: Access, queries: QueryPool, on_request: OnRequest, budgets: BudgetStore) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.budgets = budgets
        self.access = access
        self.queries = queries
        self._on_request = on_request
        self._document = orjson.dumps(make_document())

    def render(self, request: Any) -> int:
        """Answer a request, unless its client leaves before."""
        answering = Deferred.fromCoroutine(self._answer(request))
        request.notifyFinish().addErrback(lambda _: answering.cancel())
        answering.addErrback(lambda failure: failure.trap(CancelledError))
        return NOT_DONE_YET

    async def _answer(self, request: Any) -> None:
        segments = [unquote(segment.decode("ascii", "replace")) for segment in request.postpath if segment]
        name, subject = find_question(segments)
        try:
            visitor = await self.access.identify(request)
            if segments == ["openapi.json"]:
                name = "openapi"
                self._send(request, name, 200, self._document)
                return
            status, value = await self._answer_question(request, visitor, name, subject)
            body = b"" if value is None else dump(value)
        except CancelledError:
            raise
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                _log.failure("The API could not answer {name}.", name=name)
                problem = Problem(status=500, code="internal", message="The gateway failed; its log says why.")
            for header, text in problem.headers.items():
                request.setHeader(header, text)
            status, value, body = problem.status, None, dump(problem.body())
        if (status, value) == EXPORTED:
            request.finish()
            self._on_request(name, status)
        elif request.startedWriting:  # of an export that failed: its client must not take it for a whole one
            request.channel.loseConnection()
            self._on_request(name, status)
        else:
            self._send(request, name or "unknown", status, body)

    async def _answer_question(self, request: Any, visitor: Visitor, name: str, subject: str) -> Answer:
        method = request.method.decode("ascii", "replace")
        question = QUESTIONS.get(name)
        if (method, name) == ("GET", "export"):
            await self._export(request, visitor)
            return EXPORTED
        action = ACTIONS.get((method, name))
        if action is not None:
            refuse_foreign_origin(request)
            return await action(self, visitor, subject, json_body_of(request))
        allowed = [*(["GET", "HEAD"] if question else []), *(known for known, path in ACTIONS if path == name)]
        if not allowed:
            raise not_found(f"There is no such path. Known: {', '.join(QUESTIONS)}.")
        if question is None or method not in allowed:
            message = f"{method[:20]} is not for {name}."
            headers = {"Allow": ", ".join(allowed)}
            raise ProblemError(Problem(status=405, code="method_not_allowed", message=message, headers=headers))
        return 200, json_of(await self.ask(visitor, name, question, subject, arguments_of(request)))

    async def _export(self, request: Any, visitor: Visitor) -> None:
        arguments = arguments_of(request)
        wanted, form = read_export(arguments)
        content = visitor.sees_content
        if content:
            await self.access.record(visitor, "export", **{name: values[0] for name, values in arguments.items()})
        await ExportStream(request, self.queries, wanted, form, content=content).run()

    async def ask(
        self, visitor: Visitor, name: str, question: Question, subject: str, arguments: Mapping[str, Sequence[str]]
    ) -> object:
        """Return the answer to a question. A look at content is recorded before it is shown."""
        if not visitor.may(question.role):
            raise forbidden(question.role)
        budget = self.budgets.settings
        asked = read_question(question, subject, arguments, content=visitor.sees_content, budget=budget)
        if question.has_content and visitor.sees_content:
            seen = {key: values[0] for key, values in arguments.items() if key not in ("cursor", "limit")}
            await self.access.record(visitor, f"view {name.removesuffix('/{id}')}", subject, **seen)
        return await self.queries.ask(name, lambda connection: question.ask(connection, asked))

    def _send(self, request: Any, name: str, status: int, body: bytes) -> None:
        request.setResponseCode(status)
        set_private_headers(request, "application/json")
        request.setHeader("content-length", str(len(body)))
        if request.method != b"HEAD" and status != HTTPStatus.NO_CONTENT:
            request.write(body)
        request.finish()
        self._on_request(name, status)


def find_question(segments: Sequence[str]) -> tuple[str, str]:
    """Return the name of the question that a path asks, and the id in it; an unknown path is no question."""
    if len(segments) == 2:
        return f"{segments[0]}/{{id}}", segments[1]
    return "/".join(segments), ""


def read_question(
    question: Question, subject: str, arguments: Mapping[str, Sequence[str]], *, content: bool, budget: BudgetSettings
) -> Asked:
    """Return a question as a URL's query asks it. InvalidParameter for anything in the query that is wrong."""
    extra = {}
    for name in question.extra:
        if name not in arguments:
            raise InvalidParameter(name, f"Parameter {name!r} is missing. {question.extra[name]}", "missing_parameter")
        extra[name] = single_value(name, arguments[name])
    filters = {name: values for name, values in arguments.items() if name not in extra}
    wanted = parse_filter(filters, question.parameters)
    return Asked(wanted=wanted, extra=extra, subject=subject, content=content, now=utc_now(), budget=budget)


def arguments_of(request: Any) -> dict[str, list[str]]:
    """Return the parameters of a request's query."""
    return {
        name.decode("utf-8", "replace"): [value.decode("utf-8", "replace") for value in values]
        for name, values in request.args.items()
    }


def json_body_of(request: Any) -> Mapping[str, object]:
    """Return the JSON object in a request's body, empty if there is no body."""
    body = request.content.read()
    try:
        value = orjson.loads(body) if body else {}
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ProblemError(Problem(status=400, code="invalid_body", message="The body must be a JSON object."))
    return value
