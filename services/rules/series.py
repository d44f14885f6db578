"""Series, the state behind features: which events of a customer are stored, and how long."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from services.rules.formula import Formula, Lookup

FIELDS = ("event", "where", "property", "keep_s", "lifetime_distinct")


@dataclass(frozen=True)
class Series:
    """The events of one name that pass a filter, and the one property read of them.

    `where` and `property` are canonical source text. An event without the property is not
    part of the series. `keep_s` is the longest window used, in seconds, 0 for none;
    `lifetime_distinct` is set when a condition counts different values without a window.
    Only `parse` and `series_from_json` create series: they fill in `predicate` and `lookup`.
    """

    event: str
    where: str | None
    property: str | None
    keep_s: float = 0.0
    lifetime_distinct: bool = False
    predicate: Formula | None = field(default=None, compare=False, repr=False)
    lookup: Lookup | None = field(default=None, compare=False, repr=False)

    @cached_property
    def key(self) -> str:
        """The identity of the series: its events and property, not how long they are stored."""
        of = f"{self.property} of " if self.property else ""
        where = f" where {self.where}" if self.where else ""
        return f"{of}{json.dumps(self.event, ensure_ascii=False)}{where}"

    @cached_property
    def keep_us(self) -> int:
        return round(self.keep_s * 1_000_000)

    def covers(self, other: "Series") -> bool:
        """Whether a state stored for this series answers everything the other needs.

        If not, the state must be rebuilt from the raw events.
        """
        return (
            self.key == other.key
            and self.keep_s >= other.keep_s
            and self.lifetime_distinct >= other.lifetime_distinct
        )

    def to_json(self) -> dict[str, Any]:
        """The series as it travels in an event; `series_from_json` reads it back."""
        return {name: getattr(self, name) for name in FIELDS}


def merge_series(series: Iterable[Series]) -> frozenset[Series]:
    """One series per key, stored as long as the most demanding of its users needs."""
    by_key: dict[str, Series] = {}
    for one in series:
        other = by_key.get(one.key, one)
        by_key[one.key] = replace(
            other,
            keep_s=max(other.keep_s, one.keep_s),
            lifetime_distinct=other.lifetime_distinct or one.lifetime_distinct,
        )
    return frozenset(by_key.values())
