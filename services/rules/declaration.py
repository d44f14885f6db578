"""The series a service needs, and since when: this separates "no events" from "not known yet".

Profile learns of a new series a moment after it was declared, and then computes it for one customer
after another. A history computed before says nothing of series declared since.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from services.rules.parser import series_from_json
from services.rules.series import Series


class DeclaredSeries(NamedTuple):
    """A series, and the version since which as much of it has been declared without a gap."""

    series: Series
    since: int


@dataclass(frozen=True)
class Declaration:
    """The series a service needs, by key. `grew_in` is the last version that declared more.

    Without arguments, that of a service that has not declared anything yet.
    """

    grew_in: int = 0
    series: Mapping[str, DeclaredSeries] = field(default_factory=dict)

    def extend(self, version: int, series: Iterable[Series]) -> "Declaration":
        """The next declaration; `series` has one per key (`merge_series`), versions only grow."""
        declared = {
            one.key: DeclaredSeries(one, self._version_since(one, version)) for one in series
        }
        grew = any(one.since == version for one in declared.values())
        return Declaration(version if grew else self.grew_in, declared)

    def _version_since(self, series: Series, version: int) -> int:
        declared = self.series.get(series.key)
        return declared.since if declared and declared.series.covers(series) else version

    def renumber(self, number: Callable[[int], int]) -> "Declaration":
        """The same with other numbers for its versions, in the same order; 0 stays 0."""
        series = {
            key: DeclaredSeries(one.series, one.since and number(one.since))
            for key, one in self.series.items()
        }
        return Declaration(self.grew_in and number(self.grew_in), series)

    def mask_unanswered(self, history: Mapping[str, Any], answered: int) -> Mapping[str, Any]:
        """A history with None for the series that it does not answer yet.

        `answered` is `grew_in` of the declaration that the history was computed for, 0 if for none.
        A series it contains may be stored for too short a time, or begin only now.
        """
        if answered >= self.grew_in:
            return history
        unknown = (key for key, one in self.series.items() if one.since > answered)
        return {**history, **dict.fromkeys(unknown)}

    def to_json(self) -> dict[str, Any]:
        series = [{**one.series.to_json(), "since": one.since} for one in self.series.values()]
        return {"grew_in": self.grew_in, "series": series}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Declaration":
        declared = (
            DeclaredSeries(series_from_json(one), one["since"]) for one in document["series"]
        )
        return cls(document["grew_in"], {one.series.key: one for one in declared})
