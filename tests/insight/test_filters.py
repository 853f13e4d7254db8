"""Filters, as they stand in a URL's query."""

import contextlib
import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.insight.cursors import format_cursor, parse_cursor
from aibridge.insight.filters import Filter, InvalidParameter, parse_filter


class FilterTests(SynchronousTestCase):
    """Every parameter is used or refused; none is ignored."""

    def refusal(self, **query: list[str]) -> InvalidParameter:
        return self.assertRaises(InvalidParameter, parse_filter, {name.rstrip("_"): query[name] for name in query})

    def test_all(self):
        """Each parameter has its place in the filter, and its type."""
        query = {
            **{name: [name] for name in ("actor", "team", "provider", "model", "client", "session", "tool")},
            "status": ["failed"],
            "from": ["2026-01-30"],
            "to": ["2026-01-31T12:00:00+02:00"],
            "min_cost": ["0.25"],
            "limit": ["200"],
            "cursor": [format_cursor(("x", 1))],
        }
        self.assertEqual(
            parse_filter(query),
            Filter(
                actor="actor",
                team="team",
                provider="provider",
                model="model",
                client="client",
                session="session",
                tool="tool",
                status="failed",
                since=datetime(2026, 1, 30, tzinfo=UTC),
                until=datetime(2026, 1, 31, 10, tzinfo=UTC),
                min_cost=250_000_000,
                limit=200,
                cursor=("x", 1),
            ),
        )

    def test_empty(self):
        """A field of a form that was left empty is no filter, but an empty team stands for those without one."""
        self.assertEqual(parse_filter({"actor": [""], "from": [""], "limit": [""]}), Filter())
        self.assertEqual(parse_filter({"team": [""]}), Filter(team=""))

    def test_plus(self):
        """A time zone whose plus was not encoded is read all the same."""
        expected = datetime(2026, 1, 31, 10, tzinfo=UTC)
        self.assertEqual(parse_filter({"from": ["2026-01-31T12:00:00 02:00"]}).since, expected)

    def test_wrong(self):
        """A wrong value is refused by name."""
        wrong = {"status": "ok", "from_": "yesterday", "to": "31.1.2026", "min_cost": "nan", "limit": "201"}
        for name, text in {**wrong, "cursor": "?", "min_cost_": "-1", "limit_": "0"}.items():
            error = self.refusal(**{name: [text]})
            self.assertEqual((error.code, error.field), ("invalid_parameter", name.rstrip("_")))
            self.assertIn(name.rstrip("_"), error.message)

    def test_unknown(self):
        """An unknown parameter is refused, and the known ones are named."""
        error = self.refusal(offset=["1"])
        self.assertEqual((error.code, error.field), ("unknown_parameter", "offset"))
        self.assertIn("cursor", error.message)

    def test_twice(self):
        """A parameter that is given twice is refused."""
        self.assertEqual(self.refusal(actor=["a", "b"]).field, "actor")

    def test_backwards(self):
        """A span that ends before it begins is refused."""
        self.assertEqual(self.refusal(from_=["2026-02-01"], to=["2026-01-01"]).field, "to")

    @given(st.dictionaries(st.sampled_from(["from", "to", "min_cost", "limit", "cursor", "x"]), st.lists(st.text())))
    def test_anything(self, query: dict[str, list[str]]) -> None:
        """Any query gives a filter, or an error that names the parameter."""
        try:
            parse_filter(query)
        except InvalidParameter as error:
            self.assertIn(error.field, query)


class CursorTests(SynchronousTestCase):
    """Cursors carry sort keys through a URL."""

    @given(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"))
            | st.integers(-(2**63), 2**63 - 1)
            | st.uuids()
            | st.datetimes(timezones=st.just(UTC))
        )
    )
    def test_round_trip(self, keys: list[object]) -> None:
        """Keys come back as they were."""
        self.assertEqual(parse_cursor(format_cursor(keys)), tuple(keys))

    def test_zone(self):
        """A time comes back in UTC."""
        at = datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=2)))
        self.assertEqual(str(parse_cursor(format_cursor([at, UUID(int=1)]))[0]), "2026-01-31 10:00:00+00:00")

    def test_forged(self):
        """Keys that no database takes are no cursor: large numbers, NUL, and times without a zone."""
        for key in (2**63, -(2**63) - 1, 1.5, None, "a\0", {"at": "2026-01-31T12:00:00"}, {"at": 1}, {}):
            text = urlsafe_b64encode(json.dumps([key]).encode()).decode().rstrip("=")
            self.assertRaises(ValueError, parse_cursor, text)

    @given(st.text())
    def test_anything(self, text: str) -> None:
        """Any text is a cursor or a ValueError."""
        with contextlib.suppress(ValueError):
            parse_cursor(text)
