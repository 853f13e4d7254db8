"""The commands ``aibridge budget …``."""

from collections.abc import Iterator
from uuid import UUID

from ..config.model import Config
from ..costs.prices import dollars
from ..errors import AIBridgeError, ConfigError
from ..record import migrations
from ..record.audit import operator_entry
from ..record.budgets.budget_store import BudgetStore, Difference
from ..record.budgets.caps import ACTOR, GROUP, ORGANIZATION, Standing
from ..record.budgets.ids import show_budget_id
from ..record.budgets.periods import DAILY, MONTHLY, WEEKLY
from .arguments import UNSET
from .output import align_columns


def set_budget(
    config: Config,
    organization: bool,
    group: str | None,
    actor: str | None,
    daily: int | None,
    weekly: int | None,
    monthly: int | None,
) -> Iterator[str]:
    """Set a cap of one period."""
    if migrations.current(config.database.url) is None:
        migrations.upgrade(config.database.url)  # the first cap may be older than the first gateway
    scope, name = (ORGANIZATION, "") if organization else (GROUP, group) if group is not None else (ACTOR, actor)
    limits = zip((DAILY, WEEKLY, MONTHLY), (daily, weekly, monthly), strict=True)
    [(period, limit)] = [(period, limit) for period, limit in limits if limit != UNSET]
    cap = _store(config).set(scope, name or "", period, limit, operator_entry).cap
    what = "has no limit and is only counted" if limit is None else f"is {dollars(limit)} USD"
    yield f"{show_budget_id(cap.id)}: the {cap.label} {what}"


def list_budgets(config: Config) -> Iterator[str]:
    """List all caps. Amounts are in USD."""
    lines = [("ID", "SCOPE", "NAME", "PERIOD", "LIMIT", "SPENT", "RESERVED", "USED", "ENDS")]
    for standing in _store(config).standings():
        cap, period = standing.cap, standing.period
        limit, used = "-", "-"
        if cap.limit is not None:
            limit = dollars(cap.limit)
            used = f"{100 * standing.spent // cap.limit} %" if cap.limit else "100 %"
        ends = f"{period.ends_at:%Y-%m-%dT%H:%MZ}"
        money = (limit, dollars(standing.spent), dollars(standing.reserved))
        lines.append((show_budget_id(cap.id), cap.scope, cap.name or "-", cap.period, *money, used, ends))
    yield from align_columns(lines)


def remove_budget(config: Config, budget_id: UUID) -> Iterator[str]:
    """Remove a cap."""
    if not _store(config).remove(budget_id, operator_entry):
        raise ConfigError("command line", "ID", f"there is no budget {show_budget_id(budget_id)}")
    yield f"{show_budget_id(budget_id)} is removed"


def check_budgets(config: Config) -> Iterator[str]:
    """Check all caps. Raise AIBridgeError, after a line for each period that differs, if there is one."""
    count, differences = _store(config).check()
    for difference in differences:
        yield from _describe(difference)
    if differences:
        raise AIBridgeError(f"{len(differences)} of {count} budgets differ; setting a budget again sums it up anew")
    yield f"{count} budgets, no difference"


def _describe(difference: Difference) -> Iterator[str]:
    standing: Standing = difference.standing
    name = f"{show_budget_id(standing.cap.id)}: {standing.cap.label}"
    for word, kept, summed in (
        ("spent", standing.spent, difference.spent),
        ("reserved", standing.reserved, difference.reserved),
    ):
        if kept != summed:
            yield f"{name}: {dollars(kept)} USD {word}, but the rows add up to {dollars(summed)}"


def _store(config: Config) -> BudgetStore:
    migrations.require_current(config.database.url)
    return BudgetStore(config.database.url, config.budget)
