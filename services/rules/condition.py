"""A parsed condition, and the data needed to decide it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from services.rules.formula import Formula
from services.rules.series import Series, merge_series

NONE: frozenset[str] = frozenset()
NAMES = ("roots", "traits", "segments", "purposes", "context", "event", "journeys")
"""The fields of `Needs` that are names in the condition."""


@dataclass(frozen=True)
class Needs:
    """The data a condition reads, for data mapping and for the series profile stores.

    `event` are the properties of the event in hand. `series` has one entry per key, kept for
    the longest window; `windows` are all (series key, window in microseconds) used.
    """

    roots: frozenset[str] = NONE
    traits: frozenset[str] = NONE
    segments: frozenset[str] = NONE
    purposes: frozenset[str] = NONE
    context: frozenset[str] = NONE
    event: frozenset[str] = NONE
    journeys: frozenset[str] = NONE
    series: frozenset[Series] = frozenset()
    windows: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def from_conditions(cls, conditions: "Iterable[Condition]") -> "Needs":
        needs = [condition.needs for condition in conditions]
        return cls(
            **{name: NONE.union(*(getattr(one, name) for one in needs)) for name in NAMES},
            series=merge_series(series for one in needs for series in one.series),
            windows=frozenset(window for one in needs for window in one.windows),
        )


@dataclass(frozen=True)
class Condition:
    """A condition as written; two with the same source are the same."""

    source: str
    formula: Formula = field(compare=False, repr=False)
    needs: Needs = field(compare=False, repr=False)
