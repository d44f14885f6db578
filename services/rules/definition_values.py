"""Values as people write them in definitions: `7d`, `18:30`, `Europe/Amsterdam`.

What cannot be read raises ValueError with the remedy, which pydantic reports with its path.
"""

import re
from datetime import time, timedelta
from zoneinfo import ZoneInfo

LONGEST_PERIOD = timedelta(days=400)
"""What may be waited for, or looked back upon when counting contacts."""

_PERIOD = re.compile(r"\s*([0-9]{1,6})\s*([smhdw])\s*")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DISPLAY_UNITS = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("m", timedelta(minutes=1)))


def parse_period(value: object, longest: timedelta = LONGEST_PERIOD) -> timedelta:
    """Read `30s`, `45m`, `12h`, `7d` or `2w`."""
    match = _PERIOD.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("Write a number and s, m, h, d or w, as in 30s, 45m, 12h, 7d or 2w")
    read = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if not read:
        raise ValueError("A period is longer than nothing, as in 30s or 7d")
    if read > longest:
        raise ValueError(f"A period is at most {longest.days}d")
    return read


def format_period(period: timedelta) -> str:
    """A period of whole seconds as it is written: `90m`, `2h`, `7d`."""
    for letter, unit in _DISPLAY_UNITS:
        if period % unit == timedelta(0):
            return f"{period // unit}{letter}"
    return f"{period // timedelta(seconds=1)}s"


def parse_time_of_day(value: object) -> time:
    """Read `9:00` or `18:30`."""
    try:
        read = time.fromisoformat(value.zfill(len("00:00")) if isinstance(value, str) else "")
    except ValueError:
        raise ValueError('Write hours and minutes, as in "09:00" or "18:30"') from None
    if read.tzinfo is not None:
        raise ValueError("Write the time without an offset, and `time_zone` beside it")
    return read


def parse_time_zone(value: object) -> ZoneInfo:
    """Read a name of the IANA list."""
    try:
        return ZoneInfo(value)  # type: ignore[arg-type]  # what is no text raises TypeError
    except (ValueError, OSError, TypeError, KeyError):
        raise ValueError("Use a name of the IANA list, as in Europe/Amsterdam") from None
