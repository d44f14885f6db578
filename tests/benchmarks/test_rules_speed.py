"""All conditions of a catalogue must fit in a request, and segments in an ingest.

Measured: 200 conditions with 1,000 comparisons over one customer, as a catalogue writes them:
traits, segments, consent, context and windowed counts and sums, much of it shared.
Target: one call in 20 to 40 us; compiling all of it in 100 ms.
Run: pytest -m benchmark --benchmark-compare-fail=median:20%
"""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from services.rules import (
    Condition,
    Facts,
    RecordedEvent,
    RuleSet,
    SeriesSet,
    observe,
    parse,
    rebuild,
)
from services.rules.formula import iterate_leaves

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CONDITIONS = 200
EVENTS = ("product_viewed", "order_completed", "mail_opened", "page_viewed")


def comparison(rng: random.Random) -> str:
    """One comparison, with the shares a catalogue has."""
    choice = rng.random()
    if choice < 0.45:
        return f"traits.number_{rng.randrange(20)} >= {rng.randrange(100)}"
    if choice < 0.65:
        return f'traits.text_{rng.randrange(10)} in ["a", "b", "value {rng.randrange(5)}"]'
    if choice < 0.75:
        return f'"segment_{rng.randrange(20)}" in segments'
    if choice < 0.85:
        return f'context.page != "page {rng.randrange(10)}"'
    if choice < 0.95:
        event, days = rng.choice(EVENTS), rng.choice((1, 7, 30))
        return f'events.count("{event}", last="{days}d") >= {rng.randrange(3)}'
    return f'events.sum("order_completed", total, last="90d") < {rng.randrange(50, 500)}'


def catalogue() -> list[str]:
    """Conditions of one consent and four comparisons, one in five with an `or`."""
    rng = random.Random(7)
    sources = []
    for number in range(CONDITIONS):
        parts = [comparison(rng) for _ in range(4)]
        if number % 5 == 0:
            parts[2:] = [f"({parts[2]} or {parts[3]})"]
        sources.append(" and ".join(["consent.email", *parts]))
    return sources


def customer(conditions: Sequence[Condition]) -> Facts:
    """A customer with 40 events, who passes about half of the comparisons."""
    rng = random.Random(8)
    series = SeriesSet(one for condition in conditions for one in condition.needs.series)
    events = [
        RecordedEvent(
            rng.choice(EVENTS),
            NOW - timedelta(days=rng.uniform(0, 60)),
            {"total": rng.randrange(100)},
        )
        for _ in range(40)
    ]
    return Facts(
        now=NOW,
        traits={f"number_{n}": rng.randrange(100) for n in range(20)}
        | {f"text_{n}": f"value {rng.randrange(5)}" for n in range(10)},
        segments=frozenset(f"segment_{n}" for n in range(0, 20, 2)),
        consent={"email": True},
        context={"page": "page 3"},
        history=rebuild(series, events, NOW),
    )


def ideal_customer(conditions: Sequence[Condition]) -> Facts:
    """A customer of whom every comparison is true."""
    series = SeriesSet(one for condition in conditions for one in condition.needs.series)
    events = [RecordedEvent(name, NOW, {"total": 1}) for name in EVENTS for _ in range(10)]
    return Facts(
        now=NOW,
        traits={f"number_{n}": 100 for n in range(20)} | {f"text_{n}": "a" for n in range(10)},
        segments=frozenset(f"segment_{n}" for n in range(20)),
        consent={"email": True},
        context={"page": "front"},
        history=rebuild(series, events, NOW),
    )


@pytest.mark.benchmark
def test_deciding_two_hundred_conditions(benchmark: BenchmarkFixture) -> None:
    conditions = [parse(source) for source in catalogue()]
    rules, facts = RuleSet(conditions), customer(conditions)

    outcomes = benchmark(rules, facts)

    assert sum(1 for c in conditions for _ in iterate_leaves(c.formula)) == CONDITIONS * 5
    assert 5 < outcomes.count(True) < CONDITIONS / 2


@pytest.mark.benchmark
def test_deciding_two_hundred_conditions_that_are_all_true(benchmark: BenchmarkFixture) -> None:
    """The dearest case: no condition is decided by its first parts."""
    conditions = [parse(source) for source in catalogue()]
    rules, facts = RuleSet(conditions), ideal_customer(conditions)

    outcomes = benchmark(rules, facts)

    assert all(outcomes)


@pytest.mark.benchmark
def test_compiling_two_hundred_conditions(benchmark: BenchmarkFixture) -> None:
    conditions = [parse(source) for source in catalogue()]

    rules = benchmark(RuleSet, conditions)

    assert len(rules.conditions) == CONDITIONS


@pytest.mark.benchmark
def test_parsing_two_hundred_conditions(benchmark: BenchmarkFixture) -> None:
    sources = catalogue()

    conditions = benchmark(lambda: [parse(source) for source in sources])

    assert len(conditions) == CONDITIONS


@pytest.mark.benchmark
def test_explaining_a_condition(benchmark: BenchmarkFixture) -> None:
    conditions = [parse(source) for source in catalogue()]
    rules, facts = RuleSet(conditions), customer(conditions)
    failing = next(i for i, outcome in enumerate(rules(facts)) if not outcome)

    failed = benchmark(rules.explain, failing, facts)

    assert failed


@pytest.mark.benchmark
def test_observing_an_event(benchmark: BenchmarkFixture) -> None:
    conditions = [parse(source) for source in catalogue()]
    series = SeriesSet(one for condition in conditions for one in condition.needs.series)
    states, order = customer(conditions).history, {"total": 25}

    changed = benchmark(observe, states, series, "order_completed", order, NOW, NOW)

    assert len(changed) == 2
