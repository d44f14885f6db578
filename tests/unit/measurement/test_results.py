"""Periods are whole UTC days."""

from datetime import date, datetime

import pytest

from services.measurement.domain.results import InvalidPeriod, to_whole_days

MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)


@pytest.mark.parametrize(
    ("start", "end", "first", "after"),
    [
        ("2026-11-23T00:00Z", "2026-11-24T00:00Z", MONDAY, TUESDAY),
        ("2026-11-23T13:00Z", "2026-11-23T13:01Z", MONDAY, TUESDAY),
        ("2026-11-24T00:30+01:00", "2026-11-24T01:00+01:00", MONDAY, TUESDAY),
        ("2026-11-23T00:00Z", None, MONDAY, None),
        (None, "2026-11-24T00:00Z", None, TUESDAY),
        (None, None, None, None),
    ],
)
def test_a_day_that_is_touched_counts_whole(
    start: str | None, end: str | None, first: date | None, after: date | None
) -> None:
    period = [datetime.fromisoformat(moment) if moment else None for moment in (start, end)]

    assert to_whole_days(*period) == (first, after)


@pytest.mark.parametrize(
    ("start", "end", "problem"),
    [
        ("2026-11-23T00:00Z", "2026-11-23T00:00Z", "not after"),
        ("2026-11-24T00:00Z", "2026-11-23T00:00Z", "not after"),
        ("2026-11-23T00:00", "2026-11-24T00:00Z", "with their offset"),
        ("0001-01-01T00:00+05:00", "2026-11-24T00:00Z", "not a moment"),
        ("2026-11-23T00:00Z", "9999-12-31T23:59Z", "not a moment"),
    ],
)
def test_an_impossible_period_is_refused(start: str, end: str, problem: str) -> None:
    with pytest.raises(InvalidPeriod, match=problem):
        to_whole_days(datetime.fromisoformat(start), datetime.fromisoformat(end))
