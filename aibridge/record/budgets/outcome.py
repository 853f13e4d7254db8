"""The results of transactions for caps, on their way to the reactor's thread."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from attrs import Factory, define

from ...errors import BudgetSpent
from .caps import PeriodKey, Standing
from .warnings import BudgetWarning

if TYPE_CHECKING:
    from ..statements import Entry


@define(eq=False)
class Outcome:
    """The result of a transaction, which counts once that is committed."""

    is_reading: bool = False
    """True if the caps were read, and `totals` has the present periods of all."""
    ensured: set[PeriodKey] = Factory(set)
    """The periods that have a row now."""
    totals: dict[PeriodKey, Standing] = Factory(dict)
    """The periods that it changed."""
    refusals: "dict[Entry, BudgetSpent]" = Factory(dict)
    reservations: dict[UUID, tuple[int, list[PeriodKey], bool]] = Factory(dict)
    """The present reservation of each interception, its periods, and True if the interception is over."""
    costs: list[tuple[UUID, str, str, int, bool]] = Factory(list)
    """For each interception: id, actor, model, added cost, and True if it is over."""
    warnings: list[BudgetWarning] = Factory(list)
    unpriced: list[str] = Factory(list)
    """Models without a price that were let pass."""
    begun: Sequence[UUID] = ()
    """The interceptions that the transaction begins."""
