"""Errors of the console and its API, each with its status and its words."""

from collections.abc import Mapping

from attrs import Factory, frozen

from ..errors import AIBridgeError, RecordingError, Unavailable
from ..insight.filters import InvalidParameter
from ..insight.query_pool import QueryFailed, QueryTooSlow
from ..insight.search import SearchOff
from .visitors import NotAllowed, NotSignedIn, TooManyAttempts


@frozen(kw_only=True)
class Problem:
    """The reason why a request of the console is not answered."""

    status: int
    code: str
    message: str
    field: str | None = None
    """The parameter that is wrong."""
    headers: Mapping[str, str] = Factory(dict)

    def body(self) -> dict[str, object]:
        """Return the JSON of the API's errors."""
        return {"error": {"code": self.code, "message": self.message, "field": self.field}}


class ProblemError(AIBridgeError):
    """Raised to answer with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def not_found(message: str) -> ProblemError:
    """Return the error of something that is not there."""
    return ProblemError(Problem(status=404, code="not_found", message=message))


def forbidden(role: str) -> ProblemError:
    """Return the error of a visitor who lacks a role."""
    return ProblemError(Problem(status=403, code="forbidden", message=f"Only the role {role} may do that.", field=None))


def problem_of(error: Exception) -> Problem | None:
    """Return the problem that an error stands for; None for a fault of the gateway's own."""
    message = str(error)
    if isinstance(error, ProblemError):
        return error.problem
    if isinstance(error, InvalidParameter):
        return Problem(status=400, code=error.code, message=error.message, field=error.field)
    if isinstance(error, NotSignedIn):
        challenge = {"WWW-Authenticate": 'Bearer realm="aibridge"'}
        return Problem(status=401, code="unauthorized", message=message, headers=challenge)
    if isinstance(error, NotAllowed):
        return Problem(status=403, code="forbidden", message=message)
    if isinstance(error, TooManyAttempts):
        wait = {"Retry-After": str(error.retry_after)}
        return Problem(status=429, code="too_many_attempts", message=message, headers=wait)
    if isinstance(error, SearchOff):
        return Problem(status=503, code="search_off", message=message)
    if isinstance(error, QueryTooSlow):
        return Problem(status=503, code="query_too_slow", message=message)
    if isinstance(error, QueryFailed | RecordingError | Unavailable):
        return Problem(status=503, code="database_away", message=message, headers={"Retry-After": "5"})
    return None
