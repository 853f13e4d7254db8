"""The reactor's side of caps: the figures that are known of them, and what they decide while the database is away."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from attrs import Factory, define, evolve, field
from twisted.logger import Logger

from ...costs.prices import NANODOLLARS
from ...errors import BudgetSpent
from ..records import REFUSED, InterceptionRecord, InterceptionRecordEnded, TokenUsageRecord
from ..values import bounded, utc_now
from .accounts import Accounts
from .caps import PeriodKey, Standing, refusal, tightest
from .outcome import Outcome
from .settings import REFUSE
from .warnings import BudgetWarning

if TYPE_CHECKING:
    from ..statements import Entry

_log = Logger()

_RETRY_AFTER = 60
"""Seconds, while caps can't be checked."""


@define(eq=False)
class _Charge:
    """An interception under caps that is in progress in this process."""

    reserved: int
    keys: Sequence[PeriodKey]
    costs: dict[UUID, int] = Factory(dict)
    """The costs of its rows of tokens that were recorded while the database was away."""


@define(eq=False)
class BudgetEvents:
    """Called on the reactor's thread when something happens to caps."""

    on_refused: Callable[[str], object] = lambda scope: None
    """A cap of that scope has refused a request."""
    on_warning: Callable[[BudgetWarning], object] = lambda warning: None
    """A part of a cap is spent, for the first time in its period."""
    on_cap: Callable[[str, str], object] = lambda scope, name: None
    """There is a cap of that scope and name; called once for each."""


@define(eq=False)
class BudgetGate:
    """Figures of this process, which are those of the database as of its last transaction."""

    accounts: Accounts
    events: BudgetEvents = Factory(BudgetEvents)
    figures: dict[PeriodKey, Standing] = field(factory=dict, init=False)
    _charges: dict[UUID, _Charge] = field(factory=dict, init=False)
    _warned_of: set[str] = field(factory=set, init=False)
    _told: set[tuple[str, str]] = field(factory=set, init=False)
    """Scopes and names of caps of which `BudgetEvents.on_cap` knows."""

    @property
    def reserved_usd(self) -> float:
        """The reservations of this process's requests in flight, in USD."""
        return sum(charge.reserved for charge in self._charges.values()) / NANODOLLARS

    def used_ratio(self, scope: str, name: str) -> float:
        """Return the part of a cap that is spent; of several periods that which is nearest to its limit."""
        now = utc_now()
        return max(
            (
                standing.spent / standing.cap.limit
                for standing in self.figures.values()
                if (standing.cap.scope, standing.cap.name) == (scope, name)
                and standing.cap.limit
                and standing.period.ends_at > now
            ),
            default=0.0,
        )

    def settle(self) -> None:
        """Take note of what transactions have come to since the last call."""
        outcomes, self.accounts.outcomes = self.accounts.outcomes, []
        for outcome in outcomes:
            self._settle(outcome)

    def _settle(self, outcome: Outcome) -> None:
        if outcome.is_reading:
            self.figures.clear()  # of caps that are no more, and of periods that are over
        self.figures.update(outcome.totals)
        for standing in outcome.totals.values():
            name = (standing.cap.scope, standing.cap.name)
            if name not in self._told:
                self._told.add(name)
                self.events.on_cap(*name)
        for id_, (reserved, keys, is_over) in outcome.reservations.items():
            if is_over:
                self._charges.pop(id_, None)
            else:
                self._charges[id_] = _Charge(reserved, keys)
        for error in outcome.refusals.values():
            self.events.on_refused(error.scope)
        for model in outcome.unpriced:
            self._warn_of_unpriced(model)
        for warning in outcome.warnings:
            _log.warn("{line}", line=str(warning), scope=warning.standing.cap.scope, name=warning.standing.cap.name)
            self.events.on_warning(warning)

    def _warn_of_unpriced(self, model: str) -> None:
        """Warn once of a model whose use no cap can count."""
        if model not in self._warned_of and len(self._warned_of) < 1000:  # clients can invent names
            self._warned_of.add(model)
            _log.warn("{model} has no price, so that no budget counts what it costs.", model=model)

    # While the database is away

    def check_away(self, entries: "Sequence[Entry]") -> "dict[Entry, BudgetSpent]":
        """Return the errors of interceptions that may not begin, and count what the others reserve and cost."""
        accounts = self.accounts
        refused: dict[Entry, BudgetSpent] = {}
        if not accounts.caps and (accounts.is_loaded or accounts.settings.when_away != REFUSE):
            return refused
        for entry in entries:
            record = entry.record
            if type(record) is InterceptionRecord and not record.upstream_requests and record.id not in self._charges:
                error = self._begin_away(entry, record)
                if error is not None:
                    refused[entry] = error
                    self.events.on_refused(error.scope)
            elif type(record) is TokenUsageRecord and (charge := self._charges.get(record.interception_id)):
                before, cost = charge.costs.get(record.id, 0), record.cost_nanousd or 0
                charge.costs[record.id] = cost
                self._change(charge, cost - before, max(0, charge.reserved - max(0, cost - before)))
            elif type(record) is InterceptionRecordEnded and (charge := self._charges.pop(record.id, None)):
                self._change(charge, 0, 0)
        return refused

    def _begin_away(self, entry: "Entry", record: InterceptionRecord) -> BudgetSpent | None:
        """Return the error if a cap, as far as it is known, has no room for an interception."""
        accounts, settings = self.accounts, self.accounts.settings
        if not accounts.counts(record.credential_kind):
            return None
        if not accounts.is_loaded:
            return self._unchecked()
        group = record.metadata.get(settings.group_key)
        actor = bounded(record.initiator_id)
        periods = accounts.periods(actor, group if type(group) is str else None, record.started_at)
        keys = [(cap, (cap.id, period.starts_at)) for cap, period in periods]
        if settings.when_away == REFUSE and any(cap.limit is not None for cap, _ in periods):
            return self._unchecked()
        reserved = accounts.estimates.reservation(record.id, actor, record.model)
        known = [evolve(self.figures[key], cap=cap) for cap, key in keys if key in self.figures]
        for standing in known:
            if not standing.has_room(reserved):
                return refusal(standing, settings)
        closest = tightest(known)
        entry.left = closest.left if closest is not None else None
        charge = _Charge(0, [key for _, key in keys])
        self._change(charge, 0, reserved)
        self._charges[record.id] = charge
        return None

    def _unchecked(self) -> BudgetSpent:
        """Return the error for a request under a cap that can't be checked."""
        message = "Budgets can't be checked now: the database is away. Try again in a moment."
        return BudgetSpent(message, _RETRY_AFTER, resets_at=int(utc_now().timestamp()) + _RETRY_AFTER)

    def _change(self, charge: _Charge, cost: int, reserved: int) -> None:
        """Add to what is spent in an interception's periods, and replace what the interception reserves."""
        for key in charge.keys:
            if (standing := self.figures.get(key)) is not None:
                self.figures[key] = evolve(
                    standing, spent=standing.spent + cost, reserved=standing.reserved + reserved - charge.reserved
                )
        charge.reserved = reserved

    def end_record(self, entry: "Entry", error: BudgetSpent) -> InterceptionRecordEnded:
        """Return the record of the end of a refused interception."""
        return InterceptionRecordEnded(
            id=entry.record.id, status=REFUSED, error=error.message, ended_at=utc_now(), http_status=error.status
        )
