from attrs import asdict
from twisted.internet.defer import succeed
from twisted.logger import Logger
from zope.interface import implementer

from aibridge import IRecorder


@implementer(IRecorder)
class LogRecorder:
    """Writes every record to the host's log. (A log is not durable; a real recorder fires when its store is.)"""

    log = Logger()

    def _write(self, record):
        self.log.info("{kind} {record}", kind=type(record).__name__, record=asdict(record))
        return succeed(None)

    record_interception = _write
    record_interception_ended = _write
    record_token_usage = _write
    record_prompt_usage = _write
    record_tool_usage = _write
    record_model_thought = _write
