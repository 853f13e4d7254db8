"""The pages on which administrators manage keys and budgets."""

from collections.abc import Mapping
from functools import partial
from uuid import UUID

from ...insight.filters import InvalidParameter, parse_money
from ...record.budgets.caps import ORGANIZATION, SCOPES, Standing
from ...record.budgets.periods import PERIODS
from ..key_actions import create_key, revoke_key
from ..problems import not_found
from ..roles import ADMIN, ROLES
from .page import Page, Values, Visit

_LONGEST_NAME = 512


async def keys(visit: Visit) -> Values:
    """Read the gateway's keys."""
    return {"page": await visit.ask("keys"), "roles": ROLES}


async def create(visit: Visit) -> Values:
    """Make a key, which the page shows once."""
    form = visit.form
    body: dict[str, object] = {"actor": form.get("actor", "")}
    if team := form.get("team", "").strip():
        body["metadata"] = {"team": team}
    if days := form.get("days", "").strip():
        body["expires_days"] = int(days) if days.isascii() and days.isdigit() else days
    if role := form.get("role"):
        body["console_role"] = role
    _, made = await create_key(visit.site.api, visit.who, "", body)
    assert isinstance(made, dict)
    return {"done": {"key": made["key"], "actor": form["actor"]}, "form": {}}


async def revoke(visit: Visit) -> Values:
    """Revoke a key."""
    await revoke_key(visit.site.api, visit.who, visit.form.get("id", ""), {})
    return {"done": {"revoked": True}}


async def read_budgets(visit: Visit) -> list[Standing]:
    """Return the budgets with their present periods, those with the least left first."""
    standings: list[Standing] = await visit.site.api.queries.run(visit.site.budgets.standings)
    return sorted(standings, key=lambda each: (each.left is None, each.left, each.cap.label))


async def budgets(visit: Visit) -> Values:
    """Read the budgets."""
    return {"budgets": await read_budgets(visit), "scopes": SCOPES, "periods": PERIODS}


async def set_budget(visit: Visit) -> Values:
    """Set a budget, in place of one of the same scope, name and period."""
    form, site = visit.form, visit.site
    scope, name, period = form.get("scope", ""), form.get("name", "").strip(), form.get("period", "")
    if scope not in SCOPES or period not in PERIODS:
        raise InvalidParameter("scope", "Choose what the budget is for, and its period.")
    if scope == ORGANIZATION:
        name = ""
    elif not name or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise InvalidParameter("name", f"Name the {scope} that the budget is for.")
    limit = parse_money("limit", form.get("limit", "").strip())
    await site.api.queries.run(partial(site.budgets.set, scope, name, period, limit, visit.who.entry))
    return {"done": {"set": True}, "form": {}}


async def remove_budget(visit: Visit) -> Values:
    """Remove a budget."""
    site, text = visit.site, visit.form.get("id", "")
    try:
        id_ = UUID(text)
    except ValueError:
        raise not_found("There is no budget of that id.") from None
    if not await site.api.queries.run(partial(site.budgets.remove, id_, visit.who.entry)):
        raise not_found("There is no budget of that id.")
    return {"done": {"removed": True}}


PAGES: Mapping[str, Page] = {
    "budgets": Page(
        title="Budgets",
        template="budgets.html",
        load=budgets,
        role=ADMIN,
        nav="Budgets",
        actions={"set": set_budget, "remove": remove_budget},
    ),
    "keys": Page(
        title="Keys",
        template="keys.html",
        load=keys,
        role=ADMIN,
        nav="Keys",
        actions={"create": create, "revoke": revoke},
    ),
}
