"""The settings of budgets."""

from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from attrs import frozen

from ... import settings
from ...costs.prices import NANODOLLARS

ALLOW = "allow"
REFUSE = "refuse"


def _zone() -> Any:
    """The name of a time zone."""

    def check(value: str) -> str | None:
        try:
            ZoneInfo(value)
        except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
            return _NO_ZONE
        except KeyError:
            return _NO_ZONE
        return None

    return settings.setting(str, check, default="UTC")


_NO_ZONE = "must be the name of a time zone, such as Europe/Zurich"


def _amount(default: float) -> Any:
    """An amount of USD."""

    def check(value: float) -> str | None:
        return None if 0 <= value <= 1000 else "must be at least 0 and at most 1000 USD"

    return settings.setting(float, check, default=default)


def _thresholds() -> Any:
    """Parts of a limit, the lowest first."""

    def check(value: tuple[Any, ...]) -> str | None:
        if all(type(part) in (int, float) and 0 < part <= 10 for part in value):
            return None
        return "must be a list of parts of the limit, such as [0.85, 1.0]"

    def in_order(value: Any) -> Any:
        if type(value) is list and all(type(part) in (int, float) for part in value):
            value = sorted(value)
        return settings.as_tuple(value)

    return settings.setting(tuple, check, default=(0.85, 1.0), converter=in_order)


@frozen(kw_only=True)
class BudgetSettings:
    """The rules for all caps. Gateways on one database need the same ones."""

    when_away: str = settings.choice(ALLOW, REFUSE, default=ALLOW)
    """While the database is away: `ALLOW` goes by the last known figures, `REFUSE` refuses requests under a cap."""
    unpriced: str = settings.choice(ALLOW, REFUSE, default=ALLOW)
    """The fate of requests under a cap to a model without a price."""
    count_byok: bool = settings.switch(False)
    """True if caps count requests with the client's own credential."""
    min_reservation: float = _amount(0.01)
    """USD that a request reserves at least."""
    group_key: str = settings.word("team")
    """The key of the actor's metadata whose value is the actor's group."""
    timezone: str = _zone()
    """The time zone in which days, weeks and months begin."""
    help: str | None = settings.text()
    """The end of each refusal's sentence: a text or a URL that says what to do."""
    warn_at: tuple[float, ...] = _thresholds()
    """Parts of a limit at which there is a warning, once a period."""
    webhook: str | None = settings.url()
    """The URL that warnings are posted to."""
    webhook_secret: str | None = settings.secret()
    """The key of their signatures."""

    @property
    def least(self) -> int:
        """The smallest reservation, in nanodollars."""
        return int(Decimal(str(self.min_reservation)) * NANODOLLARS)
