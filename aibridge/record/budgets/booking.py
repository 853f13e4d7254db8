"""The booking of one transaction: what its records reserve, cost and give back."""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from attrs import define, evolve

from ...errors import BudgetSpent
from ..records import IN_PROGRESS, InterceptionRecord, InterceptionRecordEnded, TokenUsageRecord
from ..values import bounded, utc_now
from .accounts import Accounts
from .caps import Cap, PeriodKey, Standing, refusal, tightest
from .outcome import Outcome
from .periods import BudgetPeriod
from .settings import REFUSE
from .sql import Cursor
from .warnings import due_warning

if TYPE_CHECKING:
    from ..statements import Entry

_REMEMBERED = timedelta(days=7)
"""The age up to which an actor's last request says what the next one may cost."""


@define(eq=False)
class _Account:
    """An interception, as far as caps are concerned."""

    id: UUID
    actor: str
    model: str
    periods: list[tuple[Cap, BudgetPeriod]]
    reserved: int | None
    """The present reservation in nanodollars; None without one."""
    entry: "Entry | None" = None
    """The entry that begins it in this transaction, if it is a new one."""
    cost: int = 0
    """The costs that this transaction adds."""
    is_over: bool = False
    reservation: int = 0
    """The reservation after this transaction."""

    def settle(self) -> None:
        """Find out what it reserves from now on: nothing after its end, and less what became cost."""
        self.reservation = 0 if self.is_over else max(0, (self.reserved or 0) - max(0, self.cost))


class Booking:
    """Books the records of one transaction: `open` before their rows are written, `close` afterwards.

    `is_fresh`: the records come from where they were made, for the first time. Others may be in the database already,
    and were let pass long ago, so that no cap refuses them any more.
    """

    def __init__(self, accounts: Accounts, cursor: Cursor, entries: "Iterable[Entry]", is_fresh: bool) -> None:
        self._accounts = accounts
        self._sql = accounts.sql
        self._cursor = cursor
        self._is_fresh = is_fresh
        self._begun: dict[UUID, Entry] = {}
        self._tokens: dict[UUID, TokenUsageRecord] = {}
        self._ended: set[UUID] = set()
        for entry in entries:
            record = entry.record
            if type(record) is InterceptionRecord:
                self._begun[record.id] = entry
            elif type(record) is TokenUsageRecord:
                self._tokens[record.id] = record
            elif type(record) is InterceptionRecordEnded:
                self._ended.add(record.id)
        self._interceptions: dict[UUID, _Account] = {}
        self._full: set[PeriodKey] = set()
        """Periods whose spending alone leaves too little room for a request that was refused."""
        self.outcome = Outcome(begun=list(self._begun))

    def open(self) -> None:
        """Read what there is, before anything of it is changed, and lock it."""
        touched = {record.interception_id for record in self._tokens.values()} | self._ended
        for id_, entry in self._begun.items():
            record = entry.record
            assert type(record) is InterceptionRecord
            if not self._is_fresh or record.upstream_requests:
                touched.add(id_)
        accounts = self._accounts
        if touched:
            for id_, actor, group, model, started_at, kind, status, reserved in self._sql.facts(self._cursor, touched):
                periods = accounts.periods(actor, group, started_at) if accounts.counts(kind) else []
                self._interceptions[id_] = _Account(
                    id_, actor, model, periods, reserved if status == IN_PROGRESS else None
                )
        for id_, entry in self._begun.items():
            if id_ not in self._interceptions:
                self._interceptions[id_] = self._new(entry)
        self._ensure_periods()
        self._add_costs()

    def _new(self, entry: "Entry") -> _Account:
        record, accounts = entry.record, self._accounts
        assert type(record) is InterceptionRecord
        actor, group = bounded(record.initiator_id), record.metadata.get(accounts.settings.group_key)
        counts = accounts.counts(record.credential_kind)
        periods = accounts.periods(actor, group if type(group) is str else None, record.started_at) if counts else []
        return _Account(record.id, actor, record.model, periods, None, entry)

    def _ensure_periods(self) -> None:
        """Make the rows of periods that begin, in the same order in every process: none waits for another for ever."""
        periods = {
            (cap.id, period.starts_at): (cap, period)
            for account in self._interceptions.values()
            for cap, period in account.periods
        }
        for key in sorted(periods.keys() - self._accounts.known_periods):
            self._sql.ensure_period(self._cursor, *periods[key])
            self.outcome.ensured.add(key)

    def _add_costs(self) -> None:
        """Find out by how much the rows of tokens change the costs of their interceptions."""
        if not self._tokens:
            return
        before = self._sql.costs(self._cursor, self._tokens)
        for id_, record in self._tokens.items():
            account = self._interceptions.get(record.interception_id)
            if account is not None:
                account.cost += (record.cost_nanousd or 0) - before.get(id_, 0)

    def close(self) -> None:
        """Change the rows of the periods, decide on what begins, and write what is reserved."""
        new = []
        for account in self._interceptions.values():
            account.is_over = account.id in self._ended
            account.settle()
            if account.entry is not None and account.periods and not account.is_over:
                account.reservation = self._reservation(account)
                new.append(account)
        self._change_periods(self._interceptions.values())
        if new and self._is_fresh:
            self._decide(new)
        self._write_reservations()
        self._warn()

    def _reservation(self, account: _Account) -> int:
        since = utc_now() - _REMEMBERED
        return self._accounts.estimates.reservation(
            account.id,
            account.actor,
            account.model,
            lambda: self._sql.last_cost(self._cursor, account.actor, account.model, since),
        )

    def _change_periods(self, accounts: Iterable[_Account]) -> None:
        """Change each period once, by what all of these interceptions cost, reserve and give back."""
        changes: dict[PeriodKey, tuple[Cap, BudgetPeriod, int, int]] = {}
        for account in accounts:
            reserved = account.reservation - (account.reserved or 0)
            account.reserved = account.reservation
            if not (account.cost or reserved or account.entry is not None):
                continue
            for cap, period in account.periods:
                key = (cap.id, period.starts_at)
                _, _, spent_before, reserved_before = changes.get(key, (cap, period, 0, 0))
                changes[key] = (cap, period, spent_before + account.cost, reserved_before + reserved)
        sums = self._sql.change_periods(self._cursor, list(changes.values()))
        for key, (spent, kept, warned) in sums.items():
            cap, period, *_ = changes[key]
            self.outcome.totals[key] = Standing(cap, period, spent, kept, warned)

    def _decide(self, new: list[_Account]) -> None:
        """Refuse those for which a cap has no room, in the order in which they came."""
        used = {key: [standing.spent, standing.reserved] for key, standing in self.outcome.totals.items()}
        for account in new:
            for cap, period in account.periods:
                used[cap.id, period.starts_at][1] -= account.reservation
        refused = []
        for account in new:
            standings = [Standing(cap, period, *used[cap.id, period.starts_at]) for cap, period in account.periods]
            error = self._refusal(account, standings)
            if error is not None:
                assert account.entry is not None
                self.outcome.refusals[account.entry] = error
                account.reservation = 0
                refused.append(account)
                continue
            for cap, period in account.periods:
                used[cap.id, period.starts_at][1] += account.reservation
            closest = tightest(standings)
            if closest is not None and account.entry is not None:
                account.entry.left = closest.left
        if refused:
            for account in refused:
                account.cost = 0
            self._change_periods(refused)
            errors = [(each.id, str(self.outcome.refusals[each.entry])) for each in refused if each.entry]
            self._sql.refuse(self._cursor, errors, utc_now(), BudgetSpent.status)

    def _refusal(self, account: _Account, standings: list[Standing]) -> BudgetSpent | None:
        """Return the error for an interception that may not begin; None for the others."""
        settings = self._accounts.settings
        for standing in standings:
            if not standing.has_room(account.reservation):
                # Reservations of others may be given back, so that a refusal for their sake says little.
                if not evolve(standing, reserved=0).has_room(account.reservation):
                    self._full.add((standing.cap.id, standing.period.starts_at))
                return refusal(standing, settings)
        limited = tightest(standings)
        if limited is None or self._accounts.estimates.find(account.id).is_priced:
            return None
        if settings.unpriced == REFUSE:
            model = account.model
            return refusal(limited, settings, f"{model} has no price, so the {limited.cap.label} can't count it")
        self.outcome.unpriced.append(account.model)
        return None

    def _write_reservations(self) -> None:
        """Write what interceptions reserve. Their end has written 0 already, and so has a refusal."""
        changed = []
        for account in self._interceptions.values():
            keys = [(cap.id, period.starts_at) for cap, period in account.periods]
            if not keys or (account.entry is not None and account.entry in self.outcome.refusals):
                continue
            self.outcome.reservations[account.id] = (account.reservation, keys, account.is_over)
            self.outcome.costs.append((account.id, account.actor, account.model, account.cost, account.is_over))
            if not account.is_over and (account.entry is not None or account.cost):
                changed.append((account.id, account.reservation))
        if changed:
            self._sql.set_reservations(self._cursor, changed)

    def _warn(self) -> None:
        """Make the warnings that are due, and keep them for the webhook."""
        settings = self._accounts.settings
        for key, standing in self.outcome.totals.items():
            warning = due_warning(standing, settings, key in self._full)
            if warning is None:
                continue
            self._sql.mark_warned(self._cursor, standing.cap, standing.period, warning.level)
            self.outcome.warnings.append(warning)
            if settings.webhook is not None:
                self._sql.add_notice(self._cursor, warning.id, warning.to_json(), utc_now())
