"""What definitions (a catalogue, a journey) have in common: the base of their models, and values as
people write them, such as `7d`, `18:30` and `Europe/Amsterdam`.

What cannot be read raises ValueError with the remedy, which pydantic reports with its path. It is
part of the rules since domains read it: they may not know the chassis, which reads YAML.
"""

import re
from datetime import time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints

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


LONGEST_LINE = 300
"""Characters in a name, or in anything else that is one line of text."""

Key = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""What definitions name their parts by."""
Line = Annotated[
    str, StringConstraints(min_length=1, max_length=LONGEST_LINE, strip_whitespace=True)
]
Period = Annotated[timedelta, BeforeValidator(parse_period)]
TimeOfDay = Annotated[time, BeforeValidator(parse_time_of_day)]
TimeZone = Annotated[ZoneInfo, BeforeValidator(parse_time_zone)]


class DefinitionPart(BaseModel):
    """A part of a definition: immutable, and strict about its field names."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, populate_by_name=True
    )
