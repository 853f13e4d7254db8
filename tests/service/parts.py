"""Parts of a gateway that only note their calls."""

from typing import Any

from attrs import define, field
from twisted.application.service import IService
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer


@implementer(IService)
@define
class Part:
    """A service that adds each call to the `story`. The call returns its entry in `results`, or succeeds at once."""

    name: str
    story: list[str]
    results: dict[str, "Deferred[Any]"] = field(factory=dict)
    in_flight: int = 0

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)

        def note(*args: Any, **options: Any) -> "Deferred[Any]":
            self.story.append(" ".join([self.name, method, *map(str, args)]))
            return self.results.get(method) or succeed(None)

        return note
