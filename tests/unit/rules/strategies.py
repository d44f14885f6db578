"""Random conditions, customers and events, small enough to collide often."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from services.rules import Facts, RecordedEvent

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
NAMES = ("a", "b", "c")
TEXTS = ("a", "A", "vip", "", "2026-06-14", "2026-06-15T14:00:00+02:00", "élan")
WINDOWS = ("90s", "30m", "12h", "1d", "7d", "1w")


def joined(template: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda found: template.format(*found))


def a_literal_text() -> st.SearchStrategy[str]:
    return st.sampled_from(TEXTS).map(lambda text: f'"{text}"')


numbers = st.sampled_from(("0", "1", "2", "3", "0.5", "-1", "100"))
names = st.sampled_from(NAMES)
lookups = st.one_of(
    joined("traits.{}", names),
    joined("traits.{}", names),
    joined("event.{}", names),
    joined("traits.{}.{}", names, names),
    joined("context.{}", names),
    joined("event.{}", names),
    joined("journey.{}.{}", names, names),
)
comparison_signs = st.sampled_from(("==", "!=", "<", "<=", ">", ">="))
filters = st.one_of(
    joined("{} {} {}", names, comparison_signs, numbers),
    joined("{} {} {}", names, st.sampled_from(("==", "!=")), a_literal_text()),
    joined("not {} == {} or {} in [1, 2]", names, numbers, names),
    joined("exists({})", names),
)
filter_lists = st.lists(filters, max_size=2).map(lambda f: "".join(f", {one}" for one in f))
windows = st.one_of(st.just(""), st.sampled_from(WINDOWS).map(lambda w: f', last="{w}"'))
event_names = st.sampled_from(("e", "f"))
lasts = joined(
    'events.{}("{}", {}{}{})',
    st.sampled_from(("last", "first")),
    event_names,
    names,
    filter_lists,
    windows,
)
anything = st.one_of(lookups, lasts)
counts = st.one_of(
    joined('events.count("{}"{}{})', event_names, filter_lists, windows),
    joined(
        'events.{}("{}", {}{}{})',
        st.sampled_from(("sum", "distinct")),
        event_names,
        names,
        filter_lists,
        windows,
    ),
)
number_terms = st.recursive(
    st.one_of(numbers, lookups, counts, st.just("hour")),
    lambda inner: st.one_of(
        joined("({} {} {})", inner, st.sampled_from("+-*/%"), inner),
        joined("abs({})", inner),
        joined("round({})", inner),
        joined("min({}, {})", inner, inner),
        joined("max({}, {}, {})", inner, inner, inner),
        joined("default({}, {})", inner, numbers),
        joined("len({})", anything),
        joined("days_since({})", anything),
        joined("-{}", lookups),
    ),
    max_leaves=4,
)
text_terms = st.one_of(
    a_literal_text(),
    lookups,
    st.just("weekday"),
    st.just("event.name"),
    joined("lower({})", lookups),
    joined('default({}, "a")', lookups),
)
durations = st.one_of(
    joined("{}({})", st.sampled_from(("days", "hours")), numbers),
    joined("(now - {})", lookups),
    joined("(days(1) * {})", lookups),
)
times = st.one_of(
    st.just("now"),
    st.just("event.at"),
    joined("date({})", anything),
    joined(
        'events.{}("{}"{}{})',
        st.sampled_from(("last", "first")),
        event_names,
        filter_lists,
        windows,
    ),
    joined("(now - {})", durations),
    joined("({} + {})", lookups, durations),
)
consents = joined("consent.{}", names)
atoms = st.one_of(
    joined("{} {} {}", number_terms, comparison_signs, number_terms),
    joined("{} {} {} {} {}", numbers, comparison_signs, number_terms, comparison_signs, lookups),
    joined("{} {} {}", text_terms, comparison_signs, text_terms),
    joined("{} {} {}", anything, comparison_signs, anything),
    joined("{} {} {}", times, comparison_signs, st.one_of(times, lookups, st.just('"2026-06-14"'))),
    joined("{} {} {}", durations, comparison_signs, durations),
    joined("({} / {}) {} 1", durations, durations, comparison_signs),
    joined("{} {} [1, 2, 3]", number_terms, st.sampled_from(("in", "not in"))),
    joined('{} {} ["a", "vip"]', text_terms, st.sampled_from(("in", "not in"))),
    joined("{} {} segments", text_terms, st.sampled_from(("in", "not in"))),
    joined("{} {} {}", anything, st.sampled_from(("in", "not in")), lookups),
    joined("{} {} {}", numbers, st.sampled_from(("in", "not in")), lookups),
    joined("{}({})", st.sampled_from(("exists", "missing")), st.one_of(anything, consents)),
    joined(
        "{}({}, {})",
        st.sampled_from(("startswith", "endswith", "contains")),
        text_terms,
        text_terms,
    ),
    joined("{} == {}", consents, st.sampled_from(("True", "False"))),
    joined("{} != {}", consents, st.one_of(lookups, consents)),
    consents,
    joined("default({}, {})", st.one_of(consents, lookups), st.sampled_from(("True", "False"))),
    lookups.filter(lambda name: not name.startswith("journey")),
    st.sampled_from(("True", "False")),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        joined("not ({})", inner),
        st.lists(inner, min_size=2, max_size=4).map(lambda p: f"({' and '.join(p)})"),
        st.lists(inner, min_size=2, max_size=4).map(lambda p: f"({' or '.join(p)})"),
    ),
    max_leaves=6,
)

scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 3),
    st.integers(-1, 3),
    st.sampled_from((0.5, 1.0, 0.1, 1e16, 1e308, 2**63 - 1)),
    st.sampled_from(TEXTS),
)
values = st.one_of(
    scalars,
    scalars,
    scalars,
    st.lists(scalars, max_size=3),
    st.dictionaries(names, scalars, max_size=3),
)
objects = st.fixed_dictionaries(dict.fromkeys(NAMES, values))
offsets = st.sampled_from(
    [timedelta(days=d) for d in (-1, 0, 1, 7, 8)]
    + [timedelta(minutes=30), timedelta(hours=12), timedelta(minutes=30, microseconds=-1)]
    + [timedelta(days=7, microseconds=1), timedelta(days=7, microseconds=-1)]
)
recorded_events = st.builds(
    RecordedEvent, event_names, offsets.map(lambda offset: NOW - offset), objects
)
event_lists = st.lists(recorded_events, max_size=8)
facts = st.builds(
    Facts,
    now=st.just(NOW),
    traits=objects,
    segments=st.frozensets(st.sampled_from(TEXTS), max_size=3),
    consent=st.dictionaries(names, st.booleans(), max_size=3),
    context=objects,
    event=st.one_of(
        st.just({}),
        st.builds(
            lambda name, at, properties: {"name": name, "at": at, "properties": properties},
            event_names,
            st.sampled_from((NOW, "2026-06-14T12:00:00Z", "yesterday")),
            objects,
        ),
    ),
    journeys=st.dictionaries(names, objects, max_size=2),
)
