"""Arguments of the command line."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.commands.arguments import parse_actor, parse_duration, parse_item


class ArgumentTests(SynchronousTestCase):
    """Durations, metadata and names of actors."""

    def test_durations(self) -> None:
        """Days, hours, minutes and seconds."""
        for text, seconds in (("90d", 90 * 86400), ("12h", 12 * 3600), ("30m", 1800), ("45s", 45), ("007d", 7 * 86400)):
            self.assertEqual(parse_duration(text), timedelta(seconds=seconds))

    def test_no_durations(self) -> None:
        """Other forms, and durations that make no sense, are refused."""
        for text in (
            "",
            "90",
            "d",
            "0d",
            "-1d",
            "1.5h",
            "1 d",
            "1D",
            "1w",
            "1d12h",
            "99999999999d",
            "36501d",
            "٣d",
            "1d\n",
        ):
            self.assertRaises(ValueError, parse_duration, text)

    @given(st.text() | st.from_regex(r"[0-9]{1,12}[dhmsw]?", fullmatch=True))
    def test_any_text(self, text: str) -> None:
        """Any text is a time from a second to a century, or a ValueError."""
        try:
            time = parse_duration(text)
        except ValueError:
            return
        self.assertTrue(timedelta(seconds=1) <= time <= timedelta(days=36500))

    def test_items(self) -> None:
        """A name that a header can bear, and any value."""
        self.assertEqual(parse_item("team=a=b c"), ("team", "a=b c"))
        self.assertEqual(parse_item("team="), ("team", ""))
        for text in ("team", "=x", "te am=x", "té=x", "team=x\n"):
            self.assertRaises(ValueError, parse_item, text)

    def test_actors(self) -> None:
        """Anything that can be read."""
        self.assertEqual(parse_actor(" Zoë "), "Zoë")
        for text in ("", " ", "a\0", "a\nb", "\udcff"):
            self.assertRaises(ValueError, parse_actor, text)
