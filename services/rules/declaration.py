"""What a service needs kept of history, and since when: it tells "no events" from "not known yet".

Whoever keeps the histories hears of a new need a moment after it was declared, and then looks up
one customer after another. A history of before says nothing of the series asked for since.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from services.rules.parser import series_from_json
from services.rules.series import Series


class DeclaredSeries(NamedTuple):
    """A series, and the version since which as much of it has been asked for without a gap."""

    series: Series
    since: int


@dataclass(frozen=True)
class Declaration:
    """The series a service needs, by key. `grew_in` is the last version that asked for more.

    The one without arguments is that of a service that has not asked for anything yet.
    """

    grew_in: int = 0
    series: Mapping[str, DeclaredSeries] = field(default_factory=dict)

    def followed_by(self, version: int, series: Iterable[Series]) -> "Declaration":
        """The next one; `series` has one per key (`merge_series`), versions only grow."""
        declared = {one.key: DeclaredSeries(one, self._since(one, version)) for one in series}
        grew = any(one.since == version for one in declared.values())
        return Declaration(version if grew else self.grew_in, declared)

    def _since(self, series: Series, version: int) -> int:
        held = self.series.get(series.key)
        return held.since if held and held.series.covers(series) else version

    def renumber(self, number: Callable[[int], int]) -> "Declaration":
        """The same with other numbers for its versions, in the same order; 0 stays 0."""
        series = {
            key: DeclaredSeries(one.series, one.since and number(one.since))
            for key, one in self.series.items()
        }
        return Declaration(self.grew_in and number(self.grew_in), series)

    def known(self, history: Mapping[str, Any], answered: int) -> Mapping[str, Any]:
        """A history for conditions to look at, None for the series it does not answer yet.

        `answered` is the version in which the declaration grew that the history was made for, 0
        if for none. A series that is there may be kept for too short a time, or begin only now.
        """
        if answered >= self.grew_in:
            return history
        unknown = (key for key, one in self.series.items() if one.since > answered)
        return {**history, **dict.fromkeys(unknown)}

    def to_json(self) -> dict[str, Any]:
        """The declaration as a service keeps it."""
        series = [{**one.series.to_json(), "since": one.since} for one in self.series.values()]
        return {"grew_in": self.grew_in, "series": series}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Declaration":
        """The declaration read back."""
        declared = (DeclaredSeries(series_from_json(one), one["since"]) for one in kept["series"])
        return cls(kept["grew_in"], {one.series.key: one for one in declared})
