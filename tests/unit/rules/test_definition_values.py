"""Periods, times and zones as people write them."""

from datetime import time, timedelta
from typing import Any

import pytest

from services.rules.definition_fields import (
    format_period,
    parse_period,
    parse_time_of_day,
    parse_time_zone,
)


@pytest.mark.parametrize("text", ["30s", "45m", "12h", "7d", "90m", "400d"])
def test_a_period_is_shown_as_it_was_written(text: str) -> None:
    assert format_period(parse_period(text)) == text


def test_a_period_is_a_whole_number_and_a_unit() -> None:
    assert parse_period(" 2 w ") == timedelta(days=14)
    assert format_period(timedelta(days=14)) == "14d"
    for wrong in ("week", "7", "1.5d", "7D", "-1d", "7d 2h", "٧d", 7, None):
        with pytest.raises(ValueError, match="as in 30s, 45m, 12h, 7d or 2w"):
            parse_period(wrong)


@pytest.mark.parametrize(
    ("text", "message"), [("0d", "than nothing"), ("401d", "at most 400d"), ("999999w", "at most")]
)
def test_a_period_has_bounds(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_period(text)


def test_a_longer_period_can_be_allowed() -> None:
    assert parse_period("401d", longest=timedelta(days=500)) == timedelta(days=401)


@pytest.mark.parametrize(
    ("written", "read"),
    [("09:00", time(9)), ("9:05", time(9, 5)), ("18:30", time(18, 30)), ("0:00", time(0))],
)
def test_a_time_of_day_is_read_as_it_is_written(written: Any, read: time) -> None:
    assert parse_time_of_day(written) == read


@pytest.mark.parametrize("wrong", ["noon", "24:01", 1440, 750, -1, True, None, 9.5])
def test_what_is_no_time_of_day_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="Write hours and minutes"):
        parse_time_of_day(wrong)


def test_a_time_of_day_has_no_offset() -> None:
    with pytest.raises(ValueError, match="without an offset"):
        parse_time_of_day("09:00+01:00")


@pytest.mark.parametrize("wrong", ["Mars", "", "../etc/passwd", "a\0b", 1, None])
def test_a_time_zone_is_one_of_the_iana_list(wrong: Any) -> None:
    assert parse_time_zone("Europe/Amsterdam").key == "Europe/Amsterdam"
    with pytest.raises(ValueError, match="as in Europe/Amsterdam"):
        parse_time_zone(wrong)
