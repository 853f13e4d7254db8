"""The page on which people sign in, with a password or with their gateway key; and signing out."""

from collections.abc import Mapping

from ...http.proxies import is_loopback
from ..accounts import SESSION_LIFETIME
from ..roles import SELF
from ..visitors import COOKIE
from .page import ANYONE, Page, Values, Visit


async def show(visit: Visit) -> Values:
    """Show the form, as far as the settings allow signing in."""
    settings = visit.site.access.settings
    return {
        "next": visit.form.get("next") or visit.value("next", "/"),
        "with_password": settings.auth == "password",
        "with_key": settings.self_service,
    }


async def sign_in(visit: Visit) -> Values:
    """Begin a session, and lead back to the page that was asked for."""
    form, access = visit.form, visit.site.access
    if key := form.get("key", "").strip():
        session = await access.sign_in_with_key(visit.request, key)
    else:
        session = await access.sign_in(visit.request, form.get("name", ""), form.get("password", ""))
    _set_cookie(visit, session.secret, round(SESSION_LIFETIME.total_seconds()))
    return {"leads_to": "/me" if session.role == SELF else _own_path(form.get("next", "/"))}


async def sign_out(visit: Visit) -> Values:
    """End the session."""
    await visit.site.access.sign_out(visit.who)
    _set_cookie(visit, "", 0)
    return {"leads_to": "/sign-in"}


def _set_cookie(visit: Visit, value: str, seconds: int) -> None:
    """Set the session's cookie for so many seconds; 0 removes it."""
    host = str(getattr(visit.request.getHost(), "host", "localhost"))
    secure = "" if is_loopback(host) else "; Secure"
    cookie = f"{COOKIE.decode()}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
    visit.request.responseHeaders.addRawHeader("set-cookie", cookie)


def _own_path(target: str) -> str:
    """Return a path of this site; the first page in place of an address elsewhere."""
    is_own = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if is_own else "/"


PAGES: Mapping[str, Page] = {
    "sign-in": Page(
        title="Sign in", template="sign_in.html", load=show, role=None, parameters=("next",), actions={"": sign_in}
    ),
    "sign-out": Page(title="Sign out", template="sign_in.html", load=show, role=ANYONE, actions={"": sign_out}),
}
