"""Counts calls of the gateway's functions with the interpreter's profile hook."""

import sys
import threading
from dis import opmap
from pathlib import Path
from types import CodeType, FrameType

from attrs import Factory, define, frozen
from twisted.internet.defer import Deferred

import aibridge

PACKAGE = Path(aibridge.__file__).parent
_OWN = f"{PACKAGE}/"
_TESTING = f"{PACKAGE}/testing/"
_NEW_DEFERRED = Deferred.__init__.__code__
_RESUME = opmap.get("RESUME", -1)


@frozen
class Call:
    """One call of a function of the gateway."""

    depth: int
    """Number of the gateway's functions that were running on this thread: 0 for a call by the reactor."""
    code: CodeType
    resumed: bool
    """True if a coroutine or generator went on, which the profile hook reports like a call."""

    @property
    def file(self) -> str:
        """Path of the source below the package."""
        return self.code.co_filename.removeprefix(_OWN)

    @property
    def line(self) -> str:
        """Name and place, indented by depth."""
        resumed = " (resumed)" if self.resumed else ""
        return f"{'  ' * self.depth}{self.code.co_qualname}  {self.file}:{self.code.co_firstlineno}{resumed}"


@define
class Trace:
    """The calls of one thread."""

    calls: list[Call] = Factory(list)
    deferreds: int = 0
    objects: list[str] = Factory(list)
    """Class name of each object of the gateway's classes whose ``__init__`` ran."""
    _depth: int = 0

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """Handle one event of the profile hook."""
        code = frame.f_code
        if event == "call":
            if code is _NEW_DEFERRED:
                self.deferreds += 1
            elif _is_own(code):
                self.calls.append(Call(self._depth, code, _is_resumed(frame)))
                self._depth += 1
            if code.co_name == "__init__":
                self._note_object(frame)
        elif event == "return" and _is_own(code):
            self._depth = max(self._depth - 1, 0)

    def _note_object(self, frame: FrameType) -> None:
        """Note a new object, unless the ``__init__`` is that of a base class."""
        made = frame.f_locals.get("self")
        is_base = frame.f_back is not None and frame.f_back.f_locals.get("self") is made
        if type(made).__module__.startswith("aibridge.") and not is_base:
            self.objects.append(type(made).__qualname__)

    @property
    def roots(self) -> set[CodeType]:
        """The functions that the reactor called."""
        return {call.code for call in self.calls if not call.depth}

    def drop(self, roots: set[CodeType]) -> None:
        """Forget calls by the reactor of these functions, with all calls within."""
        kept, dropping = [], False
        for call in self.calls:
            if not call.depth:
                dropping = call.code in roots
            if not dropping:
                kept.append(call)
        self.calls = kept

    @property
    def functions(self) -> int:
        """Number of distinct functions."""
        return len({call.code for call in self.calls})

    @property
    def files(self) -> int:
        """Number of distinct files."""
        return len({call.file for call in self.calls})

    def figures(self) -> dict[str, int]:
        """All counts by name."""
        return {
            "calls": len(self.calls),
            "functions": self.functions,
            "files": self.files,
            "objects": len(self.objects),
            "deferreds": self.deferreds,
        }


@define
class Counter:
    """Traces the reactor's thread and, apart from it, all threads that start after `install`."""

    reactor: Trace = Factory(Trace)
    others: Trace = Factory(Trace)
    _counting: bool = False

    def install(self) -> None:
        """Watch the threads that start from now on."""
        threading.setprofile(self._other_thread)

    def begin(self) -> None:
        """Start to count. Call it on the reactor's thread, as the reactor does."""
        self.reactor, self.others = Trace(), Trace()
        self._counting = True
        sys.setprofile(self.reactor)

    def end(self) -> None:
        """Stop counting."""
        sys.setprofile(None)
        self._counting = False

    def _other_thread(self, frame: FrameType, event: str, argument: object) -> None:
        if self._counting:
            self.others(frame, event, argument)


def _is_own(code: CodeType) -> bool:
    return code.co_filename.startswith(_OWN) and not code.co_filename.startswith(_TESTING)


def _is_resumed(frame: FrameType) -> bool:
    """The lowest two bits of RESUME's argument are 0 at the beginning of a function."""
    code, at = frame.f_code.co_code, frame.f_lasti
    return code[at] == _RESUME and code[at + 1] & 3 != 0
