"""Questions about records, on each database."""

from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import uuid4

from attrs import evolve

from aibridge.identity.keys import KeyStore
from aibridge.insight.contents import prompts
from aibridge.insight.filters import Filter, InvalidParameter, parse_filter
from aibridge.insight.interceptions import interception, interceptions
from aibridge.insight.keys import keys
from aibridge.insight.sessions import session, sessions
from aibridge.insight.tools import tools
from aibridge.insight.usage import models, overview, parse_groups, people, percentile, usage

from ..record.databases import OnSQLite
from ..record.postgresql import OnPostgreSQL
from .records import NOW, USD, WithRecords

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class QuestionTests(WithRecords):
    """Tests for every database."""

    def test_overview(self):
        """The overview has the sums of today, of 7 and of 30 days, by day and model, and the models without a price."""
        self.exchange(NOW, cost=3 * USD)
        self.exchange(NOW - 2 * DAY, status="failed", model="gpt-5", client="Codex")
        self.exchange(NOW - 20 * DAY, cost=None, model="odd")
        self.exchange(NOW - 40 * DAY)
        found = overview(self.connect(), Filter(), NOW)
        spans = (found.today, found.last_7_days, found.last_30_days)
        self.assertEqual([figures.requests for figures in spans], [1, 2, 3])
        self.assertEqual([figures.cost_nanousd for figures in spans], [3 * USD, 4 * USD, 4 * USD])
        self.assertEqual([figures.errors for figures in spans], [0, 1, 1])
        self.assertEqual(found.today.input_tokens, 11)
        self.assertEqual(found.today.cache_read_input_tokens, 5)
        self.assertEqual([row.model for row in found.by_model], ["odd", "gpt-5", "claude-sonnet-4-5"])
        self.assertEqual(found.by_client[1].day, datetime(2026, 1, 29, tzinfo=UTC))
        self.assertEqual([(row.model, row.tokens) for row in found.unpriced_models], [("odd", 26)])

    def test_overview_of_nothing(self):
        """Without a record all figures are 0, and nothing has a percentile."""
        found = overview(self.connect(), Filter(), NOW)
        self.assertEqual((found.last_30_days.requests, found.last_30_days.first_byte_p95), (0, None))
        self.assertEqual((found.by_day, found.unpriced_models), ((), ()))

    def test_usage(self):
        """Usage is summed by what the question groups by, the latest and most expensive first."""
        self.exchange(NOW, initiator_id="alice", cost=USD)
        self.exchange(NOW, initiator_id="alice", cost=USD)
        self.exchange(NOW - HOUR, initiator_id="bob", cost=3 * USD, metadata={})
        self.exchange(NOW - DAY, initiator_id="bob", cost=9 * USD)
        page = usage(self.connect(), Filter(), parse_groups("day,actor"), NOW)
        found = [(row.day and row.day.day, row.actor, row.figures.cost_nanousd // USD) for row in page.rows]
        self.assertEqual(found, [(31, "bob", 3), (31, "alice", 2), (30, "bob", 9)])
        page = usage(self.connect(), Filter(), ("team",), NOW)
        self.assertEqual([(row.team, row.figures.requests) for row in page.rows], [("core", 3), ("", 1)])
        page = usage(self.connect(), Filter(), ("hour",), NOW)
        self.assertEqual([row.hour and row.hour.hour for row in page.rows], [15, 14, 15])
        page = usage(self.connect(), Filter(), ("month",), NOW)
        self.assertEqual([row.month for row in page.rows], [datetime(2026, 1, 1, tzinfo=UTC)])

    def test_filters(self):
        """Every filter leaves the interceptions that have the value."""
        wanted = self.exchange(
            NOW,
            initiator_id="carol",
            metadata={"team": "green"},
            provider_name="eu",
            model="m",
            client="Codex",
            client_session_id="s1",
            status="cancelled",
            calls={"Bash": "t1"},
            cost=5 * USD,
        )
        self.exchange(NOW - HOUR)
        queries = ("actor=carol", "team=green", "provider=eu", "model=m", "client=Codex", "session=s1", "tool=Bash")
        for query in (
            *queries,
            "status=cancelled",
            "min_cost=2.5",
            "from=2026-01-31T15:00",
            "to=2026-02-01&actor=carol",
        ):
            pairs = dict(pair.split("=") for pair in query.split("&"))
            filter_ = parse_filter({name: [value] for name, value in pairs.items()})
            found = interceptions(self.connect(), filter_).rows
            self.assertEqual([row.id for row in found], [wanted], query)
            [row] = usage(self.connect(), filter_, ("model",), NOW).rows
            self.assertEqual((row.model, row.figures.requests), ("m", 1), query)
        self.assertEqual(interceptions(self.connect(), Filter(actor="nobody")).rows, ())

    def test_pages(self):
        """Pages follow one another without a gap or a repetition, whatever times the rows share."""
        ids = {self.exchange(NOW - HOUR * (number // 3)) for number in range(7)}
        seen, cursor = [], None
        for size in (3, 3, 1):
            page = interceptions(self.connect(), Filter(limit=3, cursor=cursor))
            self.assertEqual((len(page.rows), page.has_more), (size, size == 3))
            seen += [(row.started_at, row.id) for row in page.rows]
            if page.next_cursor:
                cursor = parse_filter({"cursor": [page.next_cursor]}).cursor
        self.assertEqual(seen, sorted(seen, reverse=True))
        self.assertEqual({id_ for _, id_ in seen}, ids)

    def test_foreign_cursor(self):
        """A cursor of another list is refused."""
        for question in (interceptions, prompts, sessions):
            self.assertRaises(InvalidParameter, question, self.connect(), Filter(cursor=("x", 1)))
        for other in (models, tools, people, keys):
            self.assertRaises(InvalidParameter, other, self.connect(), Filter(cursor=(1,)), NOW)

    def test_ends_of_time(self):
        """A span that begins or ends in the first or the last year is answered."""
        connection = self.connect()
        for name, moment in product(("from", "to"), ("0001-01-01", "9999-12-31T23:59:59Z")):
            for field, value in (("limit", "9"), ("model", "x"), ("status", "failed")):
                wanted = parse_filter({name: [moment], field: [value]})
                answers = [ask(connection, wanted) for ask in (interceptions, prompts, sessions)]
                answers += [ask(connection, wanted, NOW) for ask in (models, tools, people)]
                self.assertEqual([len(each.rows) for each in answers], [0] * 6)

    def test_usage_pages(self):
        """Groups are paged by their sums."""
        for number in range(5):
            self.exchange(NOW, model=f"m{number}", cost=USD * (number // 2))
        first = models(self.connect(), Filter(limit=3), NOW)
        assert first.next_cursor is not None
        rest = models(self.connect(), parse_filter({"cursor": [first.next_cursor], "limit": ["3"]}), NOW)
        self.assertEqual([row.model for row in (*first.rows, *rest.rows)], ["m4", "m3", "m2", "m1", "m0"])
        self.assertFalse(rest.has_more)

    def test_interception(self):
        """Everything that is recorded of an interception is found; without leave, everything but the contents."""
        first = self.exchange(NOW, prompt="Hello", calls={"Bash": "t1"}, injected={"ask": "it broke"}, thoughts=["hm"])
        second = self.exchange(NOW + HOUR, correlating_tool_call_id="t1")
        found = interception(self.connect(), first, content=True)
        assert found is not None
        self.assertEqual((found.interception.duration_ms, found.interception.first_byte_ms), (2000.0, 300.0))
        self.assertEqual((found.interception.team, found.interception.cost_nanousd), ("core", USD))
        self.assertEqual([each.prompt for each in found.user_prompts], ["Hello"])
        self.assertEqual({call.tool: call.failed for call in found.tool_usages}, {"Bash": False, "ask": True})
        self.assertEqual([thought.content for thought in found.model_thoughts], ["hm"])
        self.assertEqual(found.children, (second,))
        later = interception(self.connect(), second)
        assert later is not None
        self.assertEqual(later.parent_id, first)
        seen = repr(interception(self.connect(), first))
        for text in ("Hello", "hm'", "it broke", "why"):
            self.assertNotIn(text, seen)
        self.assertIs(interception(self.connect(), uuid4()), None)

    def test_unpriced(self):
        """The cost of an interception that has no known cost is not 0."""
        of = self.exchange(NOW, cost=None)
        found = interception(self.connect(), of)
        assert found is not None
        self.assertIs(found.interception.cost_nanousd, None)

    def test_sessions(self):
        """Sessions have the figures of all their interceptions and the first words, the last active first."""
        self.exchange(NOW - HOUR, client_session_id="s1", prompt="First " * 50, calls={"Bash": "t1"})
        self.exchange(NOW, client_session_id="s1", correlating_tool_call_id="t1", prompt="Second", status="failed")
        self.exchange(NOW - 2 * HOUR, client_session_id="s2", initiator_id="bob", cost=7 * USD)
        self.exchange(NOW)
        first, second = sessions(self.connect(), Filter(), content=True).rows
        self.assertEqual((first.client_session_id, second.actor), ("s1", "bob"))
        self.assertEqual((first.interceptions, first.prompts, first.tool_calls, first.errors), (2, 2, 1, 1))
        self.assertEqual((first.cost_nanousd, first.output_tokens), (2 * USD, 14))
        self.assertEqual(first.last_at - first.first_at, HOUR + timedelta(seconds=2))
        self.assertEqual(first.first_prompt, ("First " * 50)[:200])
        self.assertIs(sessions(self.connect(), Filter()).rows[0].first_prompt, None)
        page = sessions(self.connect(), Filter(min_cost=5 * USD))
        self.assertEqual([row.actor for row in page.rows], ["bob"])
        page = sessions(self.connect(), Filter(limit=1))
        assert page.next_cursor is not None
        rest = sessions(self.connect(), parse_filter({"cursor": [page.next_cursor]}))
        self.assertEqual([row.client_session_id for row in rest.rows], ["s2"])

    def test_session(self):
        """A session tells its story in order; a sub-agent, which runs while its caller waits, has its own lane."""
        main = self.exchange(NOW, client_session_id="s1", prompt="Go", calls={"Task": "t1"})
        agent = self.exchange(NOW + timedelta(seconds=3), client_session_id="s1", prompt="Sub", calls={"Bash": "t2"})
        more = self.exchange(NOW + timedelta(seconds=6), client_session_id="s1", correlating_tool_call_id="t2")
        back = self.exchange(NOW + timedelta(seconds=9), client_session_id="s1", correlating_tool_call_id="t1")
        after = self.exchange(NOW + HOUR, client_session_id="s1", prompt="Thanks")
        self.exchange(NOW, client_session_id="s1", initiator_id="bob")
        found = session(self.connect(), "s1", Filter(), content=True)
        assert found is not None
        steps = [(step.interception.id, step.parent_id, step.lane) for step in found.interceptions]
        expected = [(main, None, 0), (agent, None, 1), (more, agent, 1), (back, main, 0), (after, None, 0)]
        self.assertEqual((steps, found.lanes), (expected, 2))
        self.assertEqual((found.session.interceptions, found.session.actor), (5, "alice"))
        self.assertEqual(found.interceptions[0].user_prompts[0].prompt, "Go")
        other = session(self.connect(), "s1", Filter(actor="bob"))
        assert other is not None
        self.assertEqual(other.session.actor, "bob")
        same = session(self.connect(), str(found.session.id), Filter())
        self.assertEqual(same and same.session.id, found.session.id)
        self.assertIs(session(self.connect(), "unknown", Filter()), None)

    def test_prompts(self):
        """Prompts come with their interception, newest first, and their text only where it may be seen."""
        self.exchange(NOW - HOUR, prompt="one")
        self.exchange(NOW, prompt="two", client="Codex")
        found = prompts(self.connect(), Filter(), content=True).rows
        self.assertEqual([(row.prompt, row.client) for row in found], [("two", "Codex"), ("one", "Claude Code")])
        self.assertEqual([row.prompt for row in prompts(self.connect(), Filter(client="Codex")).rows], [None])

    def test_tools(self):
        """Tools come by the number of their calls, injected ones with their errors and durations."""
        self.exchange(NOW, calls={"Bash": "t1", "Read": "t2"}, injected={"ask": None})
        self.exchange(NOW, calls={"Bash": "t3"}, injected={"ask": "it broke"})
        found = {row.tool: row for row in tools(self.connect(), Filter(), NOW).rows}
        self.assertEqual({name: row.calls for name, row in found.items()}, {"ask": 2, "Bash": 2, "Read": 1})
        ask = found["ask"]
        self.assertEqual((ask.errors, ask.injected, ask.server_url), (1, True, "https://mcp.example/mcp"))
        self.assertTrue(0 < (ask.duration_p95 or 0) <= 0.05)
        self.assertIs(found["Bash"].duration_p50, None)
        [row] = tools(self.connect(), Filter(tool="Read"), NOW).rows
        self.assertEqual(row.calls, 1)

    def test_people(self):
        """People come by their costs, each with today's as a multiple of their usual day's."""
        self.exchange(NOW, initiator_id="alice", cost=8 * USD)
        for days in range(1, 21):
            self.exchange(NOW - days * DAY, initiator_id="alice", cost=100 * USD if days == 7 else 2 * USD)
        self.exchange(NOW, initiator_id="bob", cost=USD, metadata={})
        alice, bob = people(self.connect(), Filter(), NOW).rows
        self.assertEqual((alice.actor, alice.team, alice.figures.requests), ("alice", "core", 21))
        self.assertEqual((alice.usual_day_nanousd, alice.over_usual), (2 * USD, 4.0))
        self.assertEqual((bob.actor, bob.usual_day_nanousd, bob.over_usual), ("bob", 0, None))
        [row] = people(self.connect(), evolve(Filter(), actor="bob"), NOW).rows
        self.assertEqual(row.today_nanousd, USD)

    def test_keys(self):
        """Keys come with their state; the key itself is nowhere."""
        store = KeyStore(self.url)
        store.create("alice", {"team": "core"})
        secret = store.create("bob", {})
        store.revoke(store.all()[1].id)
        found = keys(self.connect(), Filter(), NOW).rows
        self.assertEqual([(row.actor, row.state) for row in found], [("bob", "revoked"), ("alice", "valid")])
        self.assertNotIn(secret, repr(found))
        self.assertEqual([row.actor for row in keys(self.connect(), Filter(actor="alice"), NOW).rows], ["alice"])


class SQLiteQuestionTests(QuestionTests, OnSQLite):
    """On SQLite."""


class PostgreSQLQuestionTests(QuestionTests, OnPostgreSQL):
    """On PostgreSQL."""


class PercentileTests(OnSQLite):
    """Percentiles of a histogram."""

    def test_inside(self):
        """Within a class the values are taken to be spread evenly."""
        self.assertEqual(percentile([0, 0, 0, 4, *[0] * 8], 0.5), 0.3)
        self.assertEqual(percentile([1, 0, 0, 1, *[0] * 8], 0.5), 0.05)

    def test_ends(self):
        """Above the last bound it is that bound; without a value there is none."""
        self.assertEqual(percentile([0] * 11 + [1], 0.95), 51.2)
        self.assertIs(percentile([0] * 12, 0.95), None)


del QuestionTests
