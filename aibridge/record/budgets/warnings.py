"""Warnings: a cap's spending has passed a part of its limit, or left no room, for the first time in the period."""

from uuid import UUID

from attrs import frozen

from ...costs.prices import dollars
from ..values import new_id, storable_json, utc_now
from .caps import Standing
from .settings import BudgetSettings

_THOUSANDTHS = 1000


@frozen
class BudgetWarning:
    """The warning that a part of a cap is spent."""

    id: UUID
    level: int
    """The part of the limit, in thousandths."""
    standing: Standing

    def __str__(self) -> str:
        spent, limit = dollars(self.standing.spent), dollars(self.standing.cap.limit or 0)
        if self.level == _THOUSANDTHS and self.standing.spent < (self.standing.cap.limit or 0):
            return f"The {self.standing.cap.label} has no room for a request: {spent} of {limit} USD are spent"
        return f"{self.level / 10:g} % of the {self.standing.cap.label} are spent: {spent} of {limit} USD"

    def to_json(self) -> str:
        """Return the warning as the webhook gets it."""
        cap, period = self.standing.cap, self.standing.period
        return storable_json(
            {
                "type": "budget.warning",
                "id": str(self.id),
                "created_at": utc_now().isoformat(timespec="seconds").replace("+00:00", "Z"),
                "scope": cap.scope,
                "name": cap.name,
                "period": cap.period,
                "starts_at": period.starts_at.isoformat().replace("+00:00", "Z"),
                "resets_at": period.ends_at.isoformat().replace("+00:00", "Z"),
                "threshold": self.level / _THOUSANDTHS,
                "spent_usd": dollars(self.standing.spent),
                "limit_usd": dollars(cap.limit or 0),
                "message": str(self),
            }
        )


def due_warning(standing: Standing, settings: BudgetSettings, is_full: bool) -> BudgetWarning | None:
    """Return the warning of the highest part that is spent, unless there was a warning of it in this period.

    `is_full`: what is spent has left no room for a request, so that the warning of the whole limit is due.
    """
    limit = standing.cap.limit
    if not limit or not (standing.spent or is_full):
        return None
    parts = [part for part in settings.warn_at if standing.spent >= part * limit or (is_full and part == 1)]
    passed = [round(part * _THOUSANDTHS) for part in parts]
    if not passed or passed[-1] <= standing.warned:
        return None
    return BudgetWarning(new_id(), passed[-1], standing)
