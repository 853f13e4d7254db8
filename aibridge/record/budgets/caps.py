"""Caps: the money that an organization, a group or an actor may spend in a period, and where they stand."""

from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from attrs import frozen

from ...costs.prices import dollars
from ...errors import BudgetSpent
from ..values import utc_now
from .periods import BudgetPeriod
from .settings import BudgetSettings

ORGANIZATION = "organization"
GROUP = "group"
ACTOR = "actor"
SCOPES = (ORGANIZATION, GROUP, ACTOR)

PeriodKey = tuple[UUID, datetime]
"""The cap's id and the start of the period."""

_LONGEST_WAIT = 86_400
"""Seconds; clients take no longer ``Retry-After``."""


@frozen
class Cap:
    """A cap on money."""

    id: UUID
    scope: str
    """`ORGANIZATION`, `GROUP` or `ACTOR`."""
    name: str
    """The group's or the actor's; empty for the organization."""
    period: str
    limit: int | None
    """Nanodollars; None for no limit, where only the spending is of interest."""

    def covers(self, actor: str, group: str | None) -> bool:
        """Return True if the cap counts what that actor spends, who is of that group."""
        if self.scope == ORGANIZATION:
            return True
        return self.name == (actor if self.scope == ACTOR else group)

    @property
    def label(self) -> str:
        """The cap in words, such as ``monthly budget of alice``."""
        owner = {ORGANIZATION: "the organization", GROUP: f"group {self.name}"}.get(self.scope, self.name)
        return f"{self.period} budget of {owner}"


@frozen
class Standing:
    """The money of a cap in one of its periods, in nanodollars."""

    cap: Cap
    period: BudgetPeriod
    spent: int
    reserved: int
    warned: int = 0
    """The part of the limit, in thousandths, of which there was the last warning."""

    @property
    def left(self) -> int | None:
        """The money that is not spent yet; None without a limit."""
        return None if self.cap.limit is None else max(0, self.cap.limit - self.spent)

    def has_room(self, reservation: int) -> bool:
        """Return True if a request that reserves so much may begin."""
        limit, used = self.cap.limit, self.spent + self.reserved
        return limit is None or (used < limit and used + reservation <= limit)


def tightest(standings: "list[Standing]") -> Standing | None:
    """Return the standing with the least money left; None if there is none with a limit."""
    limited = [(standing.left, standing) for standing in standings if standing.left is not None]
    return min(limited, key=lambda each: each[0])[1] if limited else None


def refusal(standing: Standing, settings: BudgetSettings, reason: str | None = None) -> BudgetSpent:
    """Return the error for a request for which a cap has no room, or that it refuses for another reason.

    Clients may show the beginning only, so the telling words come first.
    """
    cap, end = standing.cap, standing.period.ends_at
    if reason is None:
        limit = cap.limit or 0
        figures = f"{dollars(standing.spent)} of {dollars(limit)} USD"
        if standing.spent >= limit:
            reason = f"The {cap.label} is spent: {figures}"
        else:
            reason = f"The {cap.label} has no room for this request: {figures} spent"
    until = f"{end.astimezone(ZoneInfo(settings.timezone)):%Y-%m-%d %H:%M %Z}"
    sentence = f"{reason}. It begins anew on {until}."
    if settings.help:
        sentence += f" {settings.help}"
    seconds = (end - utc_now()).total_seconds()
    return BudgetSpent(
        sentence, max(1, min(_LONGEST_WAIT, round(seconds))), scope=cap.scope, resets_at=int(end.timestamp())
    )
