"""Telling a client's retry of a failed request from a new request."""

from collections import OrderedDict
from hashlib import sha256
from uuid import UUID

from .record.records import FAILED, InterceptionRecord

_MAX_SESSIONS = 10_000
RETRY_OF = "retry_of"
"""The key, in an interception's metadata, of the failed interception whose turn a client repeats."""

Session = tuple[str, str, str | None]
"""Actor, client program, and the client's own id of the conversation."""


class FailedTurns:
    """The last turn of each session, if it failed.

    Clients repeat a request that failed, some of them for minutes. Each repetition is an interception of its own, but
    the user asked once. Of too many sessions the oldest failure is forgotten.
    """

    def __init__(self) -> None:
        self.sessions: OrderedDict[Session, tuple[bytes, UUID]] = OrderedDict()
        """For each session whose last turn failed, a digest of its words, and its interception."""

    def retried(self, session: Session, prompt: str | None, tool_result_id: str | None) -> UUID | None:
        """Return the failed interception that a turn with these words repeats; None for a new turn."""
        last = self.sessions.get(session)
        return last[1] if last is not None and last[0] == _digest(prompt, tool_result_id) else None

    def ended(self, record: InterceptionRecord, prompt: str | None, status: str) -> None:
        """Remember how a turn ended."""
        session = (record.initiator_id, record.client, record.client_session_id)
        self.sessions.pop(session, None)
        if status != FAILED:
            return
        self.sessions[session] = (_digest(prompt, record.correlating_tool_call_id), record.id)
        if len(self.sessions) > _MAX_SESSIONS:
            self.sessions.popitem(last=False)


def _digest(prompt: str | None, tool_result_id: str | None) -> bytes:
    return sha256(f"{tool_result_id}\0{prompt}".encode("utf-8", "surrogatepass")).digest()
