"""The facts of one customer at one moment, which conditions are decided by."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from types import MappingProxyType
from typing import Any

from services.rules.vocabulary import WEEKDAYS

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(slots=True)
class Facts:
    """One customer, the situation, and now.

    A name that is absent or None is missing. `event` has `name`, `at` and `properties`, or is
    empty. `history` maps series keys to their states: an absent key is a series without events,
    None one that is not known yet, so no condition on it is true. `zone` is the time zone of
    `hour` and `weekday`.
    """

    now: datetime
    traits: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    segments: Set[str] = frozenset()
    consent: Mapping[str, bool] = field(default_factory=lambda: NOTHING)
    context: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    event: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    journeys: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: NOTHING)
    history: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    zone: tzinfo = UTC

    @property
    def hour(self) -> int:
        """The hour of the day, 0 to 23."""
        return self.now.astimezone(self.zone).hour

    @property
    def weekday(self) -> str:
        """The day of the week, in English and lower case."""
        return WEEKDAYS[self.now.astimezone(self.zone).weekday()]
