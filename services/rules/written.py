"""Values as people write them in definitions: `7d`, `18:30`, `Europe/Amsterdam`.

What cannot be read raises ValueError with the remedy: pydantic tells it with its place.
"""

import re
from datetime import time, timedelta
from zoneinfo import ZoneInfo

KEY = r"^[a-z][a-z0-9_]{0,63}$"
"""What definitions name their parts by."""
LONGEST_LINE = 300
"""Characters in a name, or in anything else that is one line of text."""
LONGEST_PERIOD = timedelta(days=400)
"""What may be waited for, or looked back upon when counting contacts."""

_PERIOD = re.compile(r"\s*([0-9]{1,6})\s*([smhdw])\s*")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SHOWN_IN = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("m", timedelta(minutes=1)))


def period(value: object, longest: timedelta = LONGEST_PERIOD) -> timedelta:
    """Read `30s`, `45m`, `12h`, `7d` or `2w`."""
    found = _PERIOD.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError("Write a number and s, m, h, d or w, as in 30s, 45m, 12h, 7d or 2w")
    read = timedelta(**{_UNITS[found[2]]: int(found[1])})
    if not read:
        raise ValueError("A period is longer than nothing, as in 30s or 7d")
    if read > longest:
        raise ValueError(f"A period is at most {longest.days}d")
    return read


def period_in_words(period: timedelta) -> str:
    """A period of whole seconds as it is written: `90m`, `2h`, `7d`."""
    for letter, unit in _SHOWN_IN:
        if period % unit == timedelta(0):
            return f"{period // unit}{letter}"
    return f"{period // timedelta(seconds=1)}s"


def time_of_day(value: object) -> time:
    """Read `9:00` or `18:30`."""
    try:
        read = time.fromisoformat(value.zfill(len("00:00")) if isinstance(value, str) else "")
    except ValueError:
        raise ValueError('Write hours and minutes, as in "09:00" or "18:30"') from None
    if read.tzinfo is not None:
        raise ValueError("Write the time without an offset, and `time_zone` beside it")
    return read


def time_zone(value: object) -> ZoneInfo:
    """Read a name of the IANA list."""
    try:
        return ZoneInfo(value)  # type: ignore[arg-type]  # what is no text raises TypeError
    except (ValueError, OSError, TypeError, KeyError):
        raise ValueError("Use a name of the IANA list, as in Europe/Amsterdam") from None
