"""The history of one customer: the state of every series conditions need.

A state is plain JSON. It holds the entries inside the longest window any condition uses, so every
window is exact at the moment it is read, and lifetime aggregates that no pruning touches.
Entries are ordered by time and, at the same instant, by value: whatever order events
arrive in, the state is the same.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from math import fsum
from typing import Any, NamedTuple, NotRequired, TypeAlias, TypedDict

from services.rules.compiler import compile_series
from services.rules.condition import Needs
from services.rules.functions import EPOCH, is_countable, micros
from services.rules.series import Series, merge_series

Scalar: TypeAlias = bool | int | float | str
Entry: TypeAlias = list[Any]
"""[microseconds since 1970 UTC, value or None]"""


_DistinctValues = TypedDict("_DistinctValues", {"seen": list[Scalar]}, total=False)  # noqa: UP013


class SeriesState(_DistinctValues):
    """One series of one customer.

    `count`, `first` and `last` are over the lifetime. `times` (microseconds since 1970 UTC) and
    `values` are the entries stored for windows. A series of a property has `values` and `sum`:
    floats whose exact total is the lifetime's, largest first. `seen` are the different values of a
    lifetime, only for a series whose conditions count them.
    """

    count: int
    first: Entry | None
    last: Entry | None
    times: list[int]
    values: NotRequired[list[Scalar]]
    sum: NotRequired[list[float]]


class RecordedEvent(NamedTuple):
    """An event as far as series are concerned."""

    name: str
    at: datetime
    properties: Mapping[str, Any]


class SeriesSet:
    """Series compiled to take in events: one function per event name."""

    def __init__(self, series: Iterable[Series]) -> None:
        self.series = {one.key: one for one in sorted(merge_series(series), key=lambda s: s.key)}
        self._by_event: dict[str, list[Series]] = {}
        for one in self.series.values():
            self._by_event.setdefault(one.event, []).append(one)
        self._read_values = {
            name: compile_series([(one.predicate, one.lookup) for one in of_event])
            for name, of_event in self._by_event.items()
        }

    def match(self, name: str, properties: Mapping[str, Any]) -> list[tuple[Series, Any]]:
        """The series an event belongs to, each with the event's value in it."""
        if name not in self._by_event:
            return []
        values = self._read_values[name](properties)
        return [
            (one, value if one.lookup else None)
            for one, value in zip(self._by_event[name], values, strict=True)
            if _is_scalar(value)
        ]


def observe(
    states: Mapping[str, SeriesState | None],
    series: SeriesSet,
    name: str,
    properties: Mapping[str, Any],
    at: datetime,
    now: datetime,
) -> dict[str, SeriesState]:
    """The states an event changes, as new values; `states` stay as they are.

    Events may come in any order. A series whose state is None (not known yet) stays so: it is
    to be rebuilt from the raw events, this one among them.
    """
    at_us, now_us = micros(at), micros(now)
    changed = {}
    for one, value in series.match(name, properties):
        state = states.get(one.key, _create_state(one))
        if state is not None:
            changed[one.key] = _add_event(state, one, at_us, value, now_us)
    return changed


def rebuild(
    series: SeriesSet, events: Iterable[RecordedEvent], now: datetime
) -> dict[str, SeriesState]:
    """The state of every series from all of a customer's events, in any order."""
    entries: dict[str, list[Entry]] = {key: [] for key in series.series}
    for name, at, properties in events:
        for one, value in series.match(name, properties):
            entries[one.key].append([micros(at), value])
    now_us = micros(now)
    return {key: _build_state(one, entries[key], now_us) for key, one in series.series.items()}


def next_expiry(
    needs: Needs, states: Mapping[str, SeriesState | None], now: datetime
) -> datetime | None:
    """The earliest moment at which a window changes by time alone; None if none will.

    An entry at t leaves a window w at t + w, and one dated in the future enters it at t.
    """
    now_us = micros(now)
    moments = [
        moment
        for key, window_us in needs.windows
        if (state := states.get(key)) is not None
        for moment in _find_window_changes(state["times"], window_us, now_us)
    ]
    return EPOCH + timedelta(microseconds=min(moments)) if moments else None


def _find_window_changes(times: Sequence[int], window_us: int, now_us: int) -> list[int]:
    oldest, newest = bisect_right(times, now_us - window_us), bisect_right(times, now_us)
    leaves = [times[oldest] + window_us] if oldest < len(times) else []
    enters = [times[newest]] if newest < len(times) else []
    return leaves + enters


def _is_scalar(value: object) -> bool:
    return isinstance(value, bool | int | float | str) and value == value


def _rank(value: Any) -> tuple[str, Any]:
    """An order over values of all kinds, in which 1 and 1.0 are the same and True is not 1."""
    if value is None or isinstance(value, bool):
        return ("", bool(value))
    return ("text", value) if isinstance(value, str) else ("number", value)


def _order(entry: Entry) -> tuple[int, tuple[str, Any]]:
    return entry[0], _rank(entry[1])


def _create_state(series: Series) -> SeriesState:
    state: SeriesState = {"count": 0, "first": None, "last": None, "times": []}
    if series.property:
        state["values"], state["sum"] = [], []
    if series.lifetime_distinct:
        state["seen"] = []
    return state


def _add_event(
    state: SeriesState, series: Series, at_us: int, value: Any, now_us: int
) -> SeriesState:
    entry: Entry = [at_us, value]
    changed: SeriesState = {
        **state,
        "count": state["count"] + 1,
        "first": min(state["first"] or entry, entry, key=_order),
        "last": max(state["last"] or entry, entry, key=_order),
    }
    if "sum" in state and is_countable(value):
        changed["sum"] = exact_sum([*state["sum"], value])
    if "seen" in state:
        changed["seen"] = _insert_distinct(state["seen"], value)
    if series.keep_us:
        _insert_entry(changed, at_us, value)
    return prune(changed, series, now_us)


def _insert_entry(state: SeriesState, at_us: int, value: Any) -> None:
    times = state["times"]
    place = bisect_right(times, at_us)
    if "values" in state:
        values = state["values"]
        same_instant = bisect_left(times, at_us)
        place = bisect_right(values, _rank(value), same_instant, place, key=_rank)
        state["values"] = [*values[:place], value, *values[place:]]
    state["times"] = [*times[:place], at_us, *times[place:]]


def prune(state: SeriesState, series: Series, now_us: int) -> SeriesState:
    """The state without entries older than every window; the same object if there are none."""
    expired = bisect_right(state["times"], now_us - series.keep_us) if series.keep_us else None
    if expired == 0:
        return state
    state_within: SeriesState = {**state, "times": state["times"][expired:] if expired else []}
    if "values" in state:
        state_within["values"] = state["values"][expired:] if expired else []
    return state_within


def _insert_distinct(values: list[Scalar], value: Scalar) -> list[Scalar]:
    place = bisect_left(values, _rank(value), key=_rank)
    if place < len(values) and _rank(values[place]) == _rank(value):
        return values
    return [*values[:place], value, *values[place:]]


def _build_state(series: Series, entries: list[Entry], now_us: int) -> SeriesState:
    entries.sort(key=_order)
    state = _create_state(series)
    if not entries:
        return state
    state["count"], state["first"], state["last"] = len(entries), entries[0], entries[-1]
    state_within = entries if series.keep_us else []
    state["times"] = [entry[0] for entry in state_within]
    if "values" in state:
        state["values"] = [entry[1] for entry in state_within]
        state["sum"] = exact_sum([value for _, value in entries if is_countable(value)])
    if "seen" in state:
        distinct = {_rank(value): value for _, value in entries}
        state["seen"] = [distinct[rank] for rank in sorted(distinct)]
    return prune(state, series, now_us)


def exact_sum(numbers: Sequence[float]) -> list[float]:
    """The sum without any rounding: the nearest float, then the nearest to what is left, ….

    Adding in another order gives the same list, which adding floats does not.
    """
    parts: list[float] = []
    rest = fsum(numbers)
    while rest:
        parts.append(rest)
        rest = fsum([*numbers, *(-part for part in parts)])
    return parts
