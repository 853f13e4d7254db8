"""The pages of an actor's own sessions and spending, for those who sign in with a gateway key."""

from collections.abc import Mapping
from functools import partial

from attrs import evolve

from ...insight.filters import PAGING, Filter, parse_filter
from ...insight.rows import SessionDetail
from ...insight.sessions import session as find_session
from ...insight.sessions import sessions
from ...insight.usage import overview
from ...record.values import utc_now
from ..problems import not_found
from ..roles import SELF
from .page import Page, Values, Visit
from .stories import MOST_LANES, heading_of, rounds_of, time_line


async def home(visit: Visit) -> Values:
    """Read the actor's sums and sessions."""
    site, who, now = visit.site, visit.who, utc_now()
    wanted = evolve(parse_filter(visit.arguments, PAGING), actor=who.name)
    await site.access.record(who, "view own sessions", who.name)
    sums = await site.api.queries.ask("me", lambda connection: overview(connection, Filter(actor=who.name), now))
    page = await site.api.queries.ask("me", partial(sessions, wanted=wanted, content=True))
    spans = [("Today", sums.today), ("7 days", sums.last_7_days), ("30 days", sums.last_30_days)]
    return {"spans": spans, "page": page}


async def session(visit: Visit) -> Values:
    """Read the story of one of the actor's sessions."""
    who = visit.who
    wanted = evolve(parse_filter(visit.arguments, ("cursor",)), actor=who.name)
    await visit.site.access.record(who, "view session", visit.subject)
    look = partial(find_session, id_=visit.subject, wanted=wanted, content=True)
    found: SessionDetail | None = await visit.site.api.queries.ask("me/sessions/{id}", look)
    if found is None:
        raise not_found("You have no session of that id.")
    return {
        "heading": heading_of(found),
        "found": found,
        "bars": time_line(found.interceptions),
        "numbers": {step.interception.id: number for number, step in enumerate(found.interceptions, 1)},
        "rounds_of": rounds_of,
        "most_lanes": MOST_LANES,
    }


PAGES: Mapping[str, Page] = {
    "me": Page(title="Your spending", template="me.html", load=home, role=SELF),
    "me/sessions/{id}": Page(title="Session", template="session.html", load=session, role=SELF),
}
