"""Windows against every raw event, and the incremental state against the rebuilt one."""

import itertools
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.rules import (
    SEGMENT,
    ConditionError,
    Facts,
    Needs,
    RecordedEvent,
    RuleSet,
    Series,
    SeriesSet,
    SeriesState,
    evaluate,
    merge_series,
    next_expiry,
    observe,
    parse,
    prune,
    rebuild,
    series_from_json,
)
from services.rules.errors import InvalidSeries
from services.rules.functions import micros

from .oracle import truth
from .strategies import event_lists, filter_lists

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
WEEK = timedelta(days=7)


def series_of(*sources: str) -> SeriesSet:
    return SeriesSet(one for source in sources for one in parse(source).needs.series)


def viewed(at: datetime, **properties: Any) -> RecordedEvent:
    return RecordedEvent("viewed", at, properties)


def holds(source: str, events: Sequence[RecordedEvent], now: datetime = NOW) -> bool:
    history = rebuild(series_of(source), events, now)
    return evaluate(parse(source), Facts(now=now, history=history))


def observed(
    series: SeriesSet, events: Sequence[RecordedEvent], now: datetime
) -> dict[str, SeriesState]:
    """Events fed one by one; the clock stands where the latest event so far happened."""
    states: dict[str, SeriesState] = {}
    clock = now - timedelta(days=10)
    for name, at, properties in events:
        clock = min(max(clock, at), now)
        states |= observe(states, series, name, properties, at, clock)
    return {
        key: prune(states[key], one, micros(now))
        for key, one in series.series.items()
        if key in states
    }


def test_a_window_holds_its_end_but_not_its_beginning() -> None:
    at_the_end = [viewed(NOW)]
    at_the_beginning = [viewed(NOW - WEEK)]
    just_inside = [viewed(NOW - WEEK + MICROSECOND)]

    source = 'events.count("viewed", last="7d") == 1'

    assert holds(source, at_the_end)
    assert not holds(source, at_the_beginning)
    assert holds(source, just_inside)


def test_an_event_dated_in_the_future_is_in_no_window_until_then() -> None:
    tomorrow = NOW + timedelta(days=1)
    source = 'events.count("viewed", last="7d") == 1'

    assert not holds(source, [viewed(tomorrow)])
    assert holds(source, [viewed(tomorrow)], now=tomorrow)


def test_an_event_without_the_property_is_not_part_of_its_series() -> None:
    events = [viewed(NOW, price=3), viewed(NOW), viewed(NOW, price=None), viewed(NOW, price=[4])]

    assert holds('events.sum("viewed", price, last="1d") == 3', events)
    assert holds('events.distinct("viewed", price) == 1', events)
    assert holds('events.count("viewed", last="1d") == 4', events)


def test_sums_leave_out_what_is_not_a_number() -> None:
    events = [viewed(NOW, price=price) for price in (3, True, "4", 0.5)]

    assert holds('events.sum("viewed", price) == 3.5', events)
    assert holds('events.sum("viewed", price, last="1d") == 3.5', events)


def test_a_lifetime_sum_is_as_exact_as_one_over_a_window() -> None:
    tenths = [viewed(NOW, price=0.1) for _ in range(10)]  # adding ten floats gives 0.999…

    assert holds('events.sum("viewed", price) == 1', tenths)
    assert holds('events.sum("viewed", price, last="1d") == 1', tenths)


def test_last_and_first_give_a_value_or_else_the_time() -> None:
    events = [viewed(NOW - timedelta(days=1), product="book"), viewed(NOW, product="record")]

    assert holds('events.last("viewed", product) == "record"', events)
    assert holds('events.first("viewed", product) == "book"', events)
    assert holds('events.first("viewed", product, last="12h") == "record"', events)
    assert holds('now - events.first("viewed") == days(1)', events)


def test_an_unknown_history_makes_nothing_true_and_a_missing_one_is_empty() -> None:
    few = parse('events.count("viewed", last="7d") < 3')
    [series] = few.needs.series

    assert evaluate(few, Facts(now=NOW))
    assert not evaluate(few, Facts(now=NOW, history={series.key: None}))


EVERY_AGGREGATE = (
    "events.count('e', last={w!r}) == {n}",
    "events.sum('e', a, last={w!r}) == {n}",
    "events.distinct('e', a, last={w!r}) == {n}",
    "events.last('e', a, last={w!r}) == {n}",
    "events.first('e', a, last={w!r}) == {n}",
    "now - events.last('e', last={w!r}) == hours({n})",
    "now - events.first('e', last={w!r}) == hours({n})",
)
hours_ago = st.integers(-1, 4).map(lambda hours: NOW - timedelta(hours=hours))
busy_hours = st.lists(
    st.builds(
        RecordedEvent,
        st.just("e"),
        hours_ago,
        st.builds(lambda a: {"a": a}, st.sampled_from((0, 1, 1.0, True, 2, "x", None))),
    ),
    max_size=6,
)


@settings(max_examples=100, deadline=None)
@given(busy_hours)
def test_every_aggregate_is_what_going_through_all_events_gives(
    events: list[RecordedEvent],
) -> None:
    combinations = itertools.product(EVERY_AGGREGATE, ("1h", "2h", "3h"), range(5))
    rules = RuleSet([parse(one.format(w=window, n=n)) for one, window, n in combinations])
    facts = Facts(now=NOW, history=rebuild(SeriesSet(rules.needs.series), events, NOW))

    outcomes = rules(facts)

    assert outcomes == [truth(one.source, facts, events) for one in rules.conditions]


@settings(max_examples=150, deadline=None)
@given(event_lists.flatmap(st.permutations), filter_lists)
def test_observing_events_in_any_order_gives_the_rebuilt_state(
    events: list[RecordedEvent], filters: str
) -> None:
    now = NOW + timedelta(days=1)
    series = series_of(
        f'events.count("e"{filters}, last="7d") > 0',
        f'events.distinct("e", a{filters}) > 0',
        'events.sum("e", b, last="1d") > events.sum("f", b)',
    )

    incremental = observed(series, events, now)

    rebuilt = rebuild(series, events, now)
    assert incremental == {key: state for key, state in rebuilt.items() if state["count"]}
    assert json.loads(json.dumps(incremental)) == incremental


def test_observing_leaves_the_given_states_as_they_were() -> None:
    series = series_of('events.sum("viewed", price, last="7d") > 3')
    before = rebuild(series, [viewed(NOW, price=1)], NOW)
    copy = json.loads(json.dumps(before))

    changed = observe(before, series, "viewed", {"price": 2}, NOW, NOW)

    assert before == copy
    assert [state["count"] for state in changed.values()] == [2]


def test_an_event_changes_only_the_series_it_belongs_to() -> None:
    series = series_of(
        'events.count("viewed", product == "book") > 0',
        'events.count("viewed", product == "record") > 0',
        'events.count("bought") > 0',
    )

    changed = observe({}, series, "viewed", {"product": "book"}, NOW, NOW)

    assert list(changed) == ["\"viewed\" where product == 'book'"]


def test_a_series_that_is_not_known_yet_stays_unknown_when_observed() -> None:
    series = series_of('events.count("viewed") > 0')
    [key] = series.series

    assert observe({key: None}, series, "viewed", {}, NOW, NOW) == {}


def test_entries_no_window_reaches_are_dropped_but_stay_in_the_lifetime() -> None:
    series = series_of('events.count("viewed", last="7d") > events.count("viewed")')
    [(key, one)] = series.series.items()
    state = rebuild(series, [viewed(NOW - WEEK + MICROSECOND)], NOW)[key]

    pruned = prune(state, one, micros(NOW + MICROSECOND))

    assert len(state["times"]) == 1
    assert pruned["times"] == []
    assert pruned["count"] == 1


def test_one_series_serves_all_conditions_for_the_longest_of_their_windows() -> None:
    spellings = (
        'events.count("viewed", a == 1, b == "x", c < 3, d > 4, e or f, last="7d") > 0',
        "events.count('viewed', (e or f) and d>4, b=='x' and (a==1 and c<3), last='4w') > 0",
    )

    [series] = Needs.from_conditions(map(parse, spellings)).series

    assert series.keep_s == timedelta(weeks=4).total_seconds()
    assert series.key == "\"viewed\" where a == 1 and b == 'x' and c < 3 and d > 4 and (e or f)"


def test_a_state_stored_shorter_or_without_its_values_does_not_cover_a_new_need() -> None:
    def only(source: str) -> Series:
        [series] = parse(source).needs.series
        return series

    week = only('events.distinct("viewed", product, last="7d") > 0')
    month = only('events.distinct("viewed", product, last="4w") > 0')
    lifetime = only('events.distinct("viewed", product) > 0')

    assert month.covers(week)
    assert not week.covers(month)
    assert not month.covers(lifetime)
    [both] = merge_series([month, lifetime])
    assert both.covers(week)
    assert both.covers(lifetime)


@settings(max_examples=100, deadline=None)
@given(filter_lists, event_lists)
def test_a_series_survives_its_journey_as_json(filters: str, events: list[RecordedEvent]) -> None:
    [series] = parse(f'events.sum("e", a{filters}, last="7d") > 0').needs.series

    arrived = series_from_json(json.loads(json.dumps(series.to_json())))

    assert (arrived, arrived.key) == (series, series.key)
    assert rebuild(SeriesSet([arrived]), events, NOW) == rebuild(SeriesSet([series]), events, NOW)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"where": "__import__('os')"}, ConditionError),
        ({"where": "traits.age > 1"}, ConditionError),
        ({"property": "1 + 1"}, ConditionError),
        ({"event": 7}, InvalidSeries),
        ({"keep_s": "7d"}, InvalidSeries),
        ({"keep_s": -1}, InvalidSeries),
        ({"keep_s": float("nan")}, InvalidSeries),
    ],
)
def test_a_series_that_was_tampered_with_is_refused(
    change: dict[str, Any], error: type[Exception]
) -> None:
    [series] = parse('events.sum("viewed", price, product == "book") > 0').needs.series

    with pytest.raises(error):
        series_from_json(series.to_json() | change)


@settings(max_examples=150, deadline=None)
@given(event_lists)
def test_nothing_windowed_changes_before_the_next_expiry_and_something_may_then(
    events: list[RecordedEvent],
) -> None:
    counts = [f'events.count("e", last="{w}") == {n}' for w in ("30m", "7d") for n in range(9)]
    segments = [parse(source, SEGMENT) for source in counts]
    needs = Needs.from_conditions(segments)
    history = rebuild(SeriesSet(needs.series), events, NOW)

    def members(now: datetime) -> list[bool]:
        return [evaluate(segment, Facts(now=now, history=history)) for segment in segments]

    moment = next_expiry(needs, history, NOW)

    if moment is None:
        assert members(NOW) == members(NOW + timedelta(days=3_000))
    else:
        assert moment > NOW
        assert members(NOW) == members(moment - MICROSECOND)


def test_the_next_expiry_is_when_the_oldest_entry_leaves_its_window() -> None:
    segment = parse('events.count("viewed", last="7d") >= 2', SEGMENT)
    series = SeriesSet(segment.needs.series)
    oldest, newest = NOW - timedelta(days=6), NOW - timedelta(days=2)
    history = rebuild(series, [viewed(newest), viewed(oldest)], NOW)

    moment = next_expiry(segment.needs, history, NOW)

    assert moment == oldest + WEEK
    assert not evaluate(segment, Facts(now=moment, history=history))
    assert evaluate(segment, Facts(now=moment - MICROSECOND, history=history))
