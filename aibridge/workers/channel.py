"""Messages between the parent and a worker: a JSON object on each line of a pipe, one pipe in each direction.

The parent sends ``{"do": "stop"}``, ``{"do": "hurry"}``, and ``{"ask": KIND}``. A worker sends ``{"ready": true}`` or
``{"failed": REASON}`` once, and ``{"told": KIND, "value": VALUE}`` for each question. Before it ends in order it tells
its metrics unasked, so that nothing that it counted is lost.

A worker's pipe from the parent ends when the parent does, however that comes about: this is how it knows.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from attrs import frozen

from ..config.model import Config
from ..process_log import ProcessLog

FROM_PARENT, TO_PARENT, LISTENER, COUNTS = 3, 4, 5, 6
"""A worker's descriptors, beside the three standard ones."""

METRICS = "metrics"
READINESS = "readiness"
"""Kinds of questions."""

Message = Mapping[str, Any]


@frozen(kw_only=True)
class WorkerSetup:
    """A worker's settings, which are written to its standard input."""

    number: int
    """From 1 up to the number of workers."""
    config: Config
    """As the parent has read it, so that all workers have the same one, even if the file has changed meanwhile."""
    read_config: Callable[[], Config] | None
    """Reads the configuration again at SIGHUP."""
    demo_url: str
    """The URL of the parent's demo provider; empty if no demo runs."""
    reactor: str
    """The module whose ``install`` makes a reactor of the parent's kind."""
    log: ProcessLog
    """The worker's log. If it is not used, the worker sends its events to the parent."""


class MessageReader:
    """Cuts the bytes of a pipe into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that these bytes complete."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [orjson.loads(line) for line in lines]


def write_message(**message: object) -> bytes:
    """Return the bytes of a message."""
    return orjson.dumps(message, option=orjson.OPT_NON_STR_KEYS) + b"\n"
