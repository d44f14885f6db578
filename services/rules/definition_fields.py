"""The fields that definitions have in common, and the base of their models."""

from datetime import time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints

from services.rules.definition_values import parse_period, parse_time_of_day, parse_time_zone

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
