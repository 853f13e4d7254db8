"""Warnings that wait for the webhook, in the database: whoever sends one has it for a minute to itself. Calls block."""

from datetime import timedelta
from uuid import UUID

from attrs import frozen
from sqlalchemy import select

from ..database import single_transaction
from ..schema import budget_notices
from ..values import utc_now

_CLAIMED = timedelta(seconds=60)
_FIRST_PAUSE = 5.0
"""Seconds after the first failure; each pause is twice the last one."""
_LONGEST_PAUSE = 3600.0
_GIVEN_UP = timedelta(days=3)


@frozen
class Notice:
    """A warning for the webhook."""

    id: UUID
    content: object
    """The JSON value to send."""
    attempts: int
    """The number of times that it was sent before."""


class Notices:
    """The warnings in the database of that URL. Raises RecordingError if the database can't be used."""

    def __init__(self, url: str) -> None:
        self._url = url

    def claim(self) -> Notice | None:
        """Return a warning that is due, which nobody else gets for a minute; None if none is due.

        A warning that nobody has taken for three days is dropped.
        """
        now = utc_now()
        due = select(budget_notices).where(budget_notices.c.due_at <= now).order_by(budget_notices.c.due_at).limit(1)
        with single_transaction(self._url) as connection:
            connection.execute(budget_notices.delete().where(budget_notices.c.created_at < now - _GIVEN_UP))
            row = connection.execute(due.with_for_update(skip_locked=True)).one_or_none()
            if row is None:
                return None
            claimed = {"due_at": now + _CLAIMED, "attempts": row.attempts + 1}
            connection.execute(budget_notices.update().where(budget_notices.c.id == row.id).values(**claimed))
            return Notice(row.id, row.content, row.attempts)

    def delivered(self, notice: Notice) -> None:
        """Remove a warning that was taken."""
        with single_transaction(self._url) as connection:
            connection.execute(budget_notices.delete().where(budget_notices.c.id == notice.id))

    def failed(self, notice: Notice) -> float:
        """Keep a warning for later, and return the seconds until then."""
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**notice.attempts)
        due_at = utc_now() + timedelta(seconds=pause)
        with single_transaction(self._url) as connection:
            connection.execute(budget_notices.update().where(budget_notices.c.id == notice.id).values(due_at=due_at))
        return pause
