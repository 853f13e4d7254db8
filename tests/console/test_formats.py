"""Figures as people read them, and the marks of charts."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.console.pages.charts import OTHERS, largest, scale
from aibridge.console.pages.formats import count, milliseconds, money, seconds, share, times


class FormatTests(SynchronousTestCase):
    """Numbers, money and durations."""

    def test_money(self) -> None:
        """Cents, and four digits of what is less than a cent."""
        for nanousd, text in (
            (None, "\N{EN DASH}"),
            (0, "$0.00"),
            (1, "<$0.0001"),
            (1_234_000, "$0.0012"),
            (10_000_000, "$0.01"),
            (1_234_567_890_123, "$1,234.57"),
        ):
            self.assertEqual(money(nanousd), text)

    def test_count(self) -> None:
        """Three digits with a unit above 10,000; no unit has a thousand of it."""
        for number, text in (
            (None, "\N{EN DASH}"),
            (9_999, "9,999"),
            (10_000, "10.0 k"),
            (999_499, "999 k"),
            (999_999, "1.00 M"),
            (1_234_567, "1.23 M"),
            (99_960_000, "100 M"),
            (12_345_678_901, "12.3 B"),
        ):
            self.assertEqual(count(number), text)

    @given(st.integers(min_value=0, max_value=10**12))
    def test_any_count(self, number: int) -> None:
        """Any count has at most four digits and a unit."""
        digits = count(number).split()[0].replace(",", "").replace(".", "")
        self.assertLessEqual(len(digits), 4)

    def test_durations(self) -> None:
        """Milliseconds, seconds, minutes and hours."""
        found = [seconds(value) for value in (None, 0.35, 1.24, 61, 3_720)]
        self.assertEqual(found, ["\N{EN DASH}", "350 ms", "1.2 s", "1 min 1 s", "1 h 2 min"])
        self.assertEqual(
            (milliseconds(1500), times(2.51), share(1, 3), share(1, 0)[0]),
            ("1.5 s", "2.5 \N{MULTIPLICATION SIGN}", "33.3 %", "\N{EN DASH}"),
        )


class ChartTests(SynchronousTestCase):
    """Marks and series."""

    @given(st.floats(min_value=1e-6, max_value=1e12))
    def test_scale(self, most: float) -> None:
        """The marks go from 0 to at least the greatest value, in few equal steps."""
        marks = scale(most)
        self.assertEqual(marks[0], 0.0)
        self.assertGreaterEqual(marks[-1] * 1.000001, most)
        self.assertTrue(3 <= len(marks) <= 7, marks)

    def test_largest(self) -> None:
        """The largest series stay, the rest is one more."""
        kept = largest({str(number): [float(number), 1.0] for number in range(10)})
        self.assertEqual([*kept], ["9", "8", "7", "6", "5", "4", "3", OTHERS])
        self.assertEqual(kept[OTHERS], [3.0, 3.0])
