"""The periods of caps: each moment is in one of each kind, whatever the time zone does."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.record.budgets.periods import DAILY, MONTHLY, PERIODS, WEEKLY, period_at
from aibridge.record.budgets.settings import BudgetSettings
from aibridge.settings import InvalidSetting

ZONES = ("UTC", "Europe/Zurich", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "Australia/Lord_Howe")


class PeriodTests(SynchronousTestCase):
    """Days, weeks and months."""

    def spans(self, kind: str, moment: datetime, zone: str) -> tuple[str, str]:
        period = period_at(kind, moment, zone)
        return period.starts_at.isoformat(), period.ends_at.isoformat()

    def test_utc(self) -> None:
        """A week begins on Monday, a month on its first day, in the last month of a year too."""
        noon = datetime(2026, 12, 31, 12, tzinfo=UTC)  # a Thursday
        self.assertEqual(
            [self.spans(kind, noon, "UTC") for kind in (DAILY, WEEKLY, MONTHLY)],
            [
                ("2026-12-31T00:00:00+00:00", "2027-01-01T00:00:00+00:00"),
                ("2026-12-28T00:00:00+00:00", "2027-01-04T00:00:00+00:00"),
                ("2026-12-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"),
            ],
        )

    def test_zone(self) -> None:
        """Days begin at midnight of the zone; the one on which the clocks go back has 25 hours."""
        moment = datetime(2026, 10, 24, 22, 30, tzinfo=UTC)
        self.assertEqual(
            self.spans(DAILY, moment, "Europe/Zurich"), ("2026-10-24T22:00:00+00:00", "2026-10-25T23:00:00+00:00")
        )

    @given(
        st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)),
        st.sampled_from(ZONES),
        st.sampled_from(PERIODS),
    )
    def test_all(self, moment: datetime, zone: str, kind: str) -> None:
        """Each moment is in its period, and the next period begins where that ends."""
        period = period_at(kind, moment, zone)
        self.assertTrue(period.starts_at <= moment < period.ends_at)
        self.assertEqual(period_at(kind, period.ends_at, zone).starts_at, period.ends_at)
        self.assertEqual(period_at(kind, period.ends_at - timedelta(microseconds=1), zone), period)


class SettingsTests(SynchronousTestCase):
    """The rules."""

    def test_wrong(self) -> None:
        """A rule that can't be followed is refused."""
        for wrong in (
            {"timezone": "Mars/Base"},
            {"timezone": "../etc/passwd"},
            {"timezone": ""},
            {"warn_at": (0,)},
            {"warn_at": ("1",)},
            {"min_reservation": -1.0},
            {"when_away": "maybe"},
            {"webhook": "ftp://host"},
        ):
            self.assertRaises(InvalidSetting, BudgetSettings, **wrong)

    def test_order(self) -> None:
        """Parts of a limit are taken in their order."""
        self.assertEqual(BudgetSettings(warn_at=[1.0, 0.5, 0.85]).warn_at, (0.5, 0.85, 1.0))
