"""Changes of budgets by administrators over the API."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

from ..costs.prices import NANODOLLARS
from ..insight.filters import InvalidParameter
from ..record.budgets.caps import ACTOR, GROUP, ORGANIZATION
from ..record.budgets.ids import read_budget_id, show_budget_id
from ..record.budgets.periods import PERIODS
from .key_actions import require_admin
from .problems import not_found
from .roles import Visitor

_SCOPES = (ORGANIZATION, GROUP, ACTOR)
_MEMBERS = ("scope", "name", "period", "limit_usd")
_LONGEST_NAME = 512
_MOST = Decimal(10**9)


async def set_budget(api: Any, visitor: Visitor, subject: str, body: Mapping[str, object]) -> tuple[int, object]:
    """Set a cap, in place of one of the same scope, name and period."""
    require_admin(visitor)
    for member in body:
        if member not in _MEMBERS:
            raise InvalidParameter(member, f"Unknown member {member[:50]!r} of the body.", "unknown_parameter")
    scope, name, period = body.get("scope"), body.get("name", ""), body.get("period")
    if scope not in _SCOPES:
        raise InvalidParameter("scope", f"Member 'scope' must be one of {', '.join(_SCOPES)}.")
    if period not in PERIODS:
        raise InvalidParameter("period", f"Member 'period' must be one of {', '.join(PERIODS)}.")
    if not isinstance(name, str) or len(name) > _LONGEST_NAME or (scope == ORGANIZATION) == bool(name.strip()):
        raise InvalidParameter("name", "Member 'name' must name the group or the actor; the organization has none.")
    limit = _limit(body)
    stored = await api.queries.run(partial(api.budgets.set, scope, name.strip(), period, limit, visitor.entry))
    return 201, {"id": show_budget_id(stored.cap.id)}


async def remove_budget(api: Any, visitor: Visitor, subject: str, body: Mapping[str, object]) -> tuple[int, object]:
    """Remove a cap."""
    require_admin(visitor)
    try:
        id_ = read_budget_id(subject)
    except ValueError:
        raise not_found("There is no budget of that id.") from None
    if not await api.queries.run(partial(api.budgets.remove, id_, visitor.entry)):
        raise not_found("There is no budget of that id.")
    return 204, None


def _limit(body: Mapping[str, object]) -> int | None:
    """Return the limit in nanodollars; None for no limit, which must be said."""
    text = body.get("limit_usd", "")
    if text is None:
        return None
    try:
        amount = Decimal(text if isinstance(text, str) else "")
        if not 0 <= amount <= _MOST:
            raise InvalidOperation
    except InvalidOperation as error:
        message = "Member 'limit_usd' must be an amount in USD as a text, such as \"25.00\", or null for no limit."
        raise InvalidParameter("limit_usd", message) from error
    return int(amount * NANODOLLARS)


BUDGET_ACTIONS = {("POST", "budgets"): set_budget, ("DELETE", "budgets/{id}"): remove_budget}
"""By method and path."""
