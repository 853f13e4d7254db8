"""The pages, as a browser without a window sees them, on each database."""

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import ANY
from urllib.parse import quote, urlencode
from uuid import UUID

from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from aibridge.console import api, passwords
from aibridge.console.accounts import Accounts
from aibridge.console.pages import site as pages_site
from aibridge.console.pages.site import PAGES
from aibridge.console.questions import QUESTIONS
from aibridge.console.settings import ConsoleSettings
from aibridge.identity.key_store import KeyStore
from aibridge.insight.filters import FILTERS

from ..insight.records import USD
from ..insight.test_query_pool import SLOW
from ..record.databases import OnSQLite
from ..record.postgresql import OnPostgreSQL
from ..record.samples import tool_usage
from .browser import WithPages

PASSWORD = "correct horse battery"
LISTS = ("", "sessions", "interceptions", "people", "models", "tools", "search", "keys")
MARKUP = """<script>alert(1)</script><img src=x onerror=alert(2)>"'><b>&amp;{{ 7777 * 7777 }}"""


class PageTestCase(WithPages):
    """A session of alice's with two requests, of which the second brings the result of a call."""

    def fill(self, **more: Any) -> None:
        now = datetime.now(UTC) - timedelta(minutes=5)
        given: dict[str, Any] = {"client_session_id": "s1", "initiator_id": "alice"} | more
        texts: dict[str, Any] = {"prompt": "my words", "thoughts": ["a thought of mine"]}
        self.first: UUID = self.exchange(
            now, cost=USD // 4, calls={"Bash": "t1"}, injected={"ask": "it broke"}, **given, **texts
        )
        self.exchange(now + timedelta(seconds=4), correlating_tool_call_id="t1", cost=None, **given)

    def paths(self) -> list[str]:
        """Return the path of each page that needs a role, with an id of something that is there."""
        known = {"sessions/{id}": "sessions/s1", "interceptions/{id}": f"interceptions/{self.first}"}
        return [f"/{known.get(path, path)}" for path in PAGES if not path.startswith(("me", "sign"))]


class PageTests(PageTestCase):
    """Pages that anyone on this machine may open."""

    async def test_every_page(self) -> None:
        """Every page is valid HTML with one heading of the first order, a language, and a label for each field."""
        self.fill()
        KeyStore(self.url).create("alice", {"team": "core"})
        for path in self.paths():
            self.assertEqual(await self.open(path), 200, path)
            self.assertEqual([len(self.all("h1")), self.page.get("lang"), len(self.all("main"))], [1, "en", 1], path)
            labelled = {id(field) for label in self.all("label") for field in label.iter()}
            named = {label.get("for") for label in self.all("label")}
            for field in (*self.all("input"), *self.all("select")):
                is_named = id(field) in labelled or field.get("id") in named or field.get("type") == "hidden"
                self.assertTrue(is_named, (path, field.attrib))

    async def test_no_page_runs_what_is_not_its_own(self) -> None:
        """No page has a script, a style or a handler of its own; the headers allow only the site's files."""
        self.fill()
        for path in self.paths():
            await self.open(path)
            self.assertEqual([each.get("src") for each in self.all("script")], ["/static/console.js"], path)
            self.assertEqual(self.all("style"), [], path)
            odd = [name for each in self.page.iter() for name in each.attrib if name == "style" or name[:2] == "on"]
            self.assertEqual(odd, [], path)
            policy = self.headers.getRawHeaders("content-security-policy")[0]
            for part in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"):
                self.assertIn(part, policy)
            self.assertNotIn("unsafe", policy)
            names = ("x-content-type-options", "referrer-policy", "cache-control")
            values = [self.headers.getRawHeaders(name)[0] for name in names]
            self.assertEqual(values, ["nosniff", "no-referrer", "no-store"])

    async def test_static_files(self) -> None:
        """The style sheet, the script and the icon are there, and nothing else of the disk is."""
        for name in ("console.css", "console.js", "icon.svg"):
            self.assertEqual(await self._fetch(f"/static/{name}"), 200)
        for name in ("../site.py", "%2e%2e%2fsite.py", "site.py", ""):
            self.assertEqual(await self._fetch(f"/static/{name}"), 404, name)

    async def _fetch(self, path: str) -> int:
        answer = await self.client.get(f"{self.base}{path}")
        await answer.content()
        return int(answer.code)

    async def test_empty(self) -> None:
        """Without any record each list says what to do."""
        for name in LISTS[:6]:
            self.assertEqual(await self.open(f"/{name}"), 200)
            self.assertIn("Point a client at the gateway", self.text())

    async def test_filter(self) -> None:
        """A list shows what its address asks for, offers the filter in a form, and says how to remove it."""
        self.fill()
        await self.open("/sessions?actor=alice&client=Claude%20Code")
        self.assertIn("my words", self.text("table"))
        self.assertEqual(self.all("input", name="actor")[0].get("value"), "alice")
        await self.open("/sessions?actor=bob")
        self.assertIn("No sessions match this filter. Remove the filter", self.text())

    async def test_odd_json(self) -> None:
        """Arguments with large numbers and deep lists are shown, answered and exported as they are."""
        deep: Any = "x"
        for _ in range(400):
            deep = [deep]
        of = self.exchange(datetime.now(UTC), client_session_id="s1")
        self.write(tool_usage(of, input={"number": 2**70}, tool_call_id="t1"), tool_usage(of, input=deep))
        for path in ("sessions/s1", f"interceptions/{of}"):
            self.assertEqual(await self.open(f"/{path}"), 200)
            self.assertIn(str(2**70), self.text(), path)
            self.assertEqual((await self.ask(path))[0], 200, path)
        for form in ("jsonl", "csv"):
            status, body = await self.ask_raw(f"export?format={form}")
            self.assertEqual((status, str(2**70) in body.decode()), (200, form == "jsonl"))

    async def test_every_filter(self) -> None:
        """Every list takes every filter, and its form has them; the export takes the same ones."""
        chosen = {"status": "failed", "from": "2026-01-01", "to": "2026-01-02", "min_cost": "0.5"}
        chosen = {name: chosen.get(name, f"my {name}") for name in FILTERS}
        self.fill()
        for name in LISTS[1:7]:
            self.assertEqual(await self.open(f"/{name}?{urlencode({**chosen, 'limit': 5})}"), 200, name)
            fields = {name: self.value(name) for name in FILTERS if name != "status"}
            self.assertEqual({**fields, "status": "failed"}, chosen, name)
        await self.open("/interceptions?actor=alice&limit=1")
        [export] = self.all("a", download="aibridge.csv")
        status, body = await self.ask_raw(export.attrib["href"].removeprefix("/api/v1/"))
        self.assertEqual((status, len(body.splitlines())), (200, 3))
        for name in ("content-security-policy", "x-content-type-options", "referrer-policy", "cache-control"):
            self.assertTrue(self.headers.hasHeader(name), name)

    async def test_wrong_address(self) -> None:
        """A parameter that is unknown or wrong is an error that names it; an unknown page or thing is not found."""
        self.fill()
        for path, status, words in (
            ("/sessions?acter=alice", 400, "Unknown parameter 'acter'"),
            ("/sessions?from=yesterday", 400, "must be a date"),
            ("/models?status=odd", 400, "Unknown status"),
            ("/nothing", 404, "no such page"),
            ("/sessions/nobody", 404, "no session"),
            ("/interceptions/nobody", 404, "no interception"),
        ):
            self.assertEqual(await self.open(path), status)
            self.assertIn(words, self.text())

    async def test_paging(self) -> None:
        """A long list goes on over a link, and back to its first page."""
        now = datetime.now(UTC)
        for number in range(5):
            self.exchange(now - timedelta(minutes=number), model=f"model-{number}")
        await self.open("/interceptions?limit=3")
        [following] = self.all("a", rel="next")
        self.assertNotIn("model-3", self.text("table"))
        await self.open(following.attrib["href"])
        self.assertIn("model-3", self.text("table"))
        self.assertNotIn("model-2", self.text("table"))

    async def test_story(self) -> None:
        """A session's page tells prompt, thoughts, calls and results in their order, and what led to what."""
        self.fill()
        await self.open("/sessions/s1")
        story = self.text("ol")
        places = [story.index(words) for words in ("my words", "a thought of mine", "Bash", "brings the result of")]
        self.assertEqual(places, sorted(places))
        self.assertIn("injected", story)
        self.assertIn("it broke", story)

    async def test_looks_are_recorded(self) -> None:
        """Each look at content is in the audit."""
        self.fill()
        await self.open("/sessions/s1")
        await self.open(f"/interceptions/{self.first}")
        await self.open("/models")
        found = [("view sessions", "s1"), ("view interceptions", str(self.first))]
        self.assertEqual(self.audited(), found)

    async def test_chart(self) -> None:
        """The overview draws each figure by each part, with words for those who can't see it."""
        self.fill()
        for show in ("cost", "tokens", "requests"):
            for by in ("model", "client", "provider"):
                self.assertEqual(await self.open(f"/?show={show}&by={by}"), 200)
                [chart] = self.all("svg")
                self.assertIn(f"by {by}", chart.get("aria-label") or "")
                self.assertTrue([each for each in chart.iter() if str(each.tag).endswith("rect")])

    async def test_state(self) -> None:
        """The overview says how the gateway is."""
        self.fill()
        await self.open("/")
        self.assertIn("Database up", self.text())

    async def test_markup_is_text(self) -> None:
        """Markup in a record is text on every page: no element, no attribute and no template comes of it."""
        self.fill(
            initiator_id=MARKUP,
            client_session_id=MARKUP,
            model=MARKUP,
            user_agent=MARKUP,
            provider_name=MARKUP,
            client=MARKUP,
            metadata={"team": MARKUP, MARKUP: MARKUP},
        )
        session = quote(MARKUP, safe="")
        for path in [path for path in self.paths() if "s1" not in path] + [f"/sessions/{session}"]:
            self.assertEqual(await self.open(path), 200, path)
            self.assertEqual(len(self.all("script")), 1, path)
            self.assertEqual([*self.all("img"), *self.all("b", id="x")], [], path)
            self.assertNotIn(str(7777 * 7777), self.text(), path)

    async def test_any_text(self) -> None:
        """Any text in a record leaves the page's elements as they are."""
        seen: list[str] = []

        @settings(max_examples=15, suppress_health_check=[*HealthCheck], deadline=None, database=None)
        @given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40))
        def collect(text: str) -> None:
            seen.append(text)

        collect()
        now = datetime.now(UTC)
        for number, words in enumerate(seen):
            odd = f"<i>{words}</i>"
            ids = {"client_session_id": f"s{number}", "initiator_id": odd}
            self.exchange(now, prompt=odd, calls={odd: f"t{number}"}, thoughts=[odd], injected={odd: odd}, **ids)
            await self.open(f"/sessions/s{number}")
            self.assertEqual(len(self.all("i")), 0, words)


class RoleTests(PageTestCase):
    """Pages for users with passwords."""

    settings = ConsoleSettings(auth="password", self_service=True)

    def setUp(self) -> None:
        self.patch(passwords, "_COST", 2**4)  # the usual cost takes a tenth of a second each time
        super().setUp()
        for role in ("viewer", "auditor", "admin"):
            Accounts(self.url).add(role, role, PASSWORD, datetime.now(UTC))
        self.fill()

    async def sign_in(self, name: str, password: str = PASSWORD, next_: str = "/sessions") -> int:
        await self.open(next_)
        return await self.submit({"name": name, "password": password})

    async def test_sign_in(self) -> None:
        """Without a session every page leads to the sign-in, and from there back; signing out ends the session."""
        self.assertEqual(await self.open("/sessions?actor=alice", follow=False), 303)
        self.assertEqual(self.target, "/sign-in?next=%2Fsessions%3Factor%3Dalice")
        self.assertEqual(await self.sign_in("auditor", next_="/sessions?actor=alice"), 200)
        self.assertEqual((self.text("h1"), self.path), ("Sessions", "/sessions"))
        kept = dict(self.cookies)
        self.assertEqual(await self.submit({"token": self.value("token")}), 200)
        self.assertEqual(self.text("h1"), "Sign in")
        self.cookies = kept
        self.assertEqual(await self.open("/sessions", follow=False), 303)

    async def test_cookie(self) -> None:
        """The session's cookie can't be read by scripts, and doesn't come with other sites' requests."""
        await self.open("/")
        await self._request("POST", "/sign-in", {"name": "viewer", "password": PASSWORD}, {}, False)
        [cookie] = self.headers.getRawHeaders("set-cookie")
        for part in ("HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=43200"):
            self.assertIn(part.lower(), cookie.lower())

    async def test_wrong_password(self) -> None:
        """A wrong name or password is 401 with the same words; after five of them in a minute it is 429."""
        for name in ("viewer", "nobody"):
            self.assertEqual(await self.sign_in(name, "wrong password"), 401)
            self.assertIn("Wrong name or password.", self.text())
        for _ in range(3):
            await self.sign_in("viewer", "wrong password")
        self.assertEqual(await self.sign_in("viewer"), 429)
        self.assertIn("Too many wrong passwords", self.text())

    async def test_leads_to_this_site_only(self) -> None:
        """Signing in never leads to another site."""
        for target in ("//evil.test/", "https://evil.test/", "/\\evil.test", "javascript:alert(1)", "/a\nb"):
            self.forget()
            fields = {"name": "viewer", "password": PASSWORD, "next": target}
            await self._request("POST", "/sign-in", fields, {}, False)
            self.assertEqual(self.target, "/", target)

    async def test_content(self) -> None:
        """A viewer sees figures, and no word of what was said; an auditor sees it."""
        paths = ["/sessions", "/sessions/s1", f"/interceptions/{self.first}"]
        for role, seen in (("viewer", False), ("auditor", True)):
            self.forget()
            await self.sign_in(role)
            for path in paths:
                self.assertEqual(await self.open(path), 200)
                for words in ("my words", "a thought of mine", "it broke") if path != "/sessions" else ("my words",):
                    self.assertEqual(words in self.text(), seen, (role, path, words))

    async def test_rights(self) -> None:
        """Pages that a role may not open are 403, and are not in its navigation."""
        for role, forbidden in (
            ("viewer", ("/search", "/keys", "/budgets")),
            ("auditor", ("/keys", "/budgets")),
            ("admin", ()),
        ):
            self.forget()
            await self.sign_in(role)
            offered = {each.get("href") for each in self.all("nav")[0].iter("a")}
            self.assertEqual(await self.open("/me"), 403, role)
            for path in ("/search", "/keys", "/budgets"):
                self.assertEqual(await self.open(path), 403 if path in forbidden else 200, (role, path))
                self.assertEqual(path in offered, path not in forbidden)

    async def test_keys(self) -> None:
        """An administrator makes a key, which is shown once, and revokes it."""
        await self.sign_in("admin", next_="/keys")
        self.assertEqual(await self.submit({"actor": "carol", "team": "web", "days": "30", "role": ""}), 200)
        [shown] = [each.text or "" for each in self.all("code", **{"class": "copy"})]
        await self.open("/keys")
        self.assertNotIn(shown, self.body.decode())
        self.assertIn("carol", self.text("table"))
        self.assertEqual(await self.submit({"action": "revoke", "id": self.value("id")}), 200)
        self.assertIn("revoked", self.text("table"))
        self.assertEqual([action for action, _ in self.audited() if "key" in action], ["create key", "revoke key"])

    async def test_budgets(self) -> None:
        """An administrator sets a budget, sees where it stands, and removes it."""
        await self.sign_in("admin", next_="/budgets")
        given = {"scope": "group", "name": "core", "period": "monthly", "limit": "25.50"}
        self.assertEqual(await self.submit(given), 200)
        for path in ("/budgets", "/people"):
            await self.open(path)
            self.assertIn("core group monthly", self.text("main"))
            self.assertIn("$25.50", self.text("main"))
        for wrong, words in (
            ({"limit": "much"}, "amount in USD"),
            ({"name": ""}, "Name the group"),
            ({"period": "x"}, "Choose"),
        ):
            await self.open("/budgets")
            self.assertEqual(await self.submit({**given, **wrong}), 400)
            self.assertIn(words, self.text())
        await self.open("/budgets")
        self.assertEqual(await self.submit({"action": "remove", "id": self.value("id")}), 200)
        self.assertIn("There are no budgets", self.text())
        self.assertEqual(
            [each for each in self.audited() if "budget" in each[0]],
            [("set budget", "core"), ("remove budget", ANY)],
        )

    async def test_wrong_form(self) -> None:
        """A form with a wrong value says why, and keeps what was written."""
        await self.sign_in("admin", next_="/keys")
        self.assertEqual(await self.submit({"actor": "carol", "team": "", "days": "soon", "role": ""}), 400)
        self.assertIn("expires_days", self.text())
        self.assertEqual(self.all("input", name="actor")[0].get("value"), "carol")

    async def test_forged_forms(self) -> None:
        """A form without the session's token, or from a page of another site, does nothing."""
        await self.sign_in("admin", next_="/keys")
        fields = {"action": "create", "actor": "mallory", "team": "", "days": "", "role": ""}
        self.assertEqual(await self.submit(fields, "/keys"), 403)
        self.assertEqual(await self.submit({**fields, "token": "0" * 64}, "/keys"), 403)
        await self.open("/keys")
        self.assertEqual(await self.submit(fields, origin="http://evil.test"), 403)
        await self.open("/keys")
        self.assertNotIn("mallory", self.text())

    async def test_own(self) -> None:
        """With a gateway key an actor sees their own sessions and nothing else."""
        self.exchange(datetime.now(UTC), initiator_id="bob", client_session_id="s2", prompt="bob's words")
        key = KeyStore(self.url).create("alice", {})
        await self.open("/")
        self.assertEqual(await self.submit({"key": key}), 200)
        self.assertEqual(self.path, "/me")
        self.assertIn("my words", self.text("table"))
        self.assertNotIn("bob", self.text())
        self.assertEqual(await self.open("/me/sessions/s1"), 200)
        self.assertIn("a thought of mine", self.text("ol"))
        self.assertEqual(await self.open("/me/sessions/s2"), 404)
        for path in self.paths()[1:]:
            self.assertEqual(await self.open(path), 403, path)


class SlowTests(WithPages):
    """A database that is slow."""

    settings = ConsoleSettings(auth="none", query_timeout=0.1)

    async def test_slow(self) -> None:
        """A query that takes too long is ended; the page and the API say so, and what to do."""
        query = text(SLOW[self.url.partition("+")[0].partition(":")[0]])
        slow = evolve(QUESTIONS["models"], ask=lambda connection, asked: connection.execute(query).all())
        for module in (pages_site, api):
            self.patch(module, "QUESTIONS", {**QUESTIONS, "models": slow})
        message = "The query took longer than 0.1 s. Narrow the span of time or the filter."
        self.assertEqual(await self.open("/models"), 503)
        self.assertIn(message, self.text("main"))
        status, body = await self.ask("models")
        self.assertEqual((status, body["error"]["code"], body["error"]["message"]), (503, "query_too_slow", message))


class SQLiteSlowTests(SlowTests, OnSQLite):
    """On SQLite."""


class PostgreSQLSlowTests(SlowTests, OnPostgreSQL):
    """On PostgreSQL."""


class SQLitePageTests(PageTests, OnSQLite):
    """On SQLite."""


class SQLiteRoleTests(RoleTests, OnSQLite):
    """On SQLite."""


class PostgreSQLPageTests(PageTests, OnPostgreSQL):
    """On PostgreSQL."""


del PageTestCase, PageTests, RoleTests, SlowTests, WithPages
