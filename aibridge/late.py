"""Answers that end after their exchange, in the background or because they broke off, and are fetched later."""

from typing import Any

from twisted.logger import Logger

from .errors import RecordingError
from .interfaces import IAnswerIndex, IRecorder
from .record.handing import handing_to
from .record.ledger import Ledger, Said
from .wire.formats import Answer, WireFormat

_log = Logger()


async def record_late(recorder: IRecorder, wire_format: WireFormat, answer: Answer) -> None:
    """Adds to its interception what a fetched answer says. A recorder that can't be asked is told nothing."""
    index: Any = IAnswerIndex(recorder, None)
    if index is None or not (answer.finished and answer.response_id):
        return
    found = await index.find_open_answer(answer.response_id)
    if found is None:
        return
    ledger = Ledger(handing_to(recorder), found.interception_id, None, usage_id=found.usage_id)
    try:
        await ledger.answered(Said(answer, wire_format.figures(answer.usage)))
    except RecordingError:
        _log.failure("the answer {id}, fetched later, was not recorded", id=answer.response_id)
