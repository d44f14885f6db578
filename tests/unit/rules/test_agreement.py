"""The compiled function against a plain interpreter, over random conditions and customers."""

from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.rules import (
    Condition,
    ConditionError,
    Facts,
    RecordedEvent,
    RuleSet,
    SeriesSet,
    parse,
    rebuild,
)

from .oracle import truth
from .strategies import conditions, event_lists, facts


def parsed(source: str) -> Condition | None:
    try:
        return parse(source)
    except ConditionError:  # such as two fixed values compared: refused, never misread
        return None


def with_history(
    customer: Facts, rules: Sequence[Condition], events: Sequence[RecordedEvent]
) -> Facts:
    series = SeriesSet(one for rule in rules for one in rule.needs.series)
    customer.history = rebuild(series, events, customer.now)
    return customer


readable = conditions.map(parsed).filter(lambda c: c is not None)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(readable, min_size=1, max_size=5), facts, event_lists)
def test_the_fused_function_agrees_with_the_plain_interpreter(
    rules: list[Condition], customer: Facts, events: list[RecordedEvent]
) -> None:
    ruleset = RuleSet(rules)

    outcomes = ruleset(with_history(customer, rules, events))

    assert outcomes == [truth(rule.source, customer, events) for rule in rules]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(readable, facts, event_lists)
def test_the_explanation_agrees_with_the_outcome(
    rule: Condition, customer: Facts, events: list[RecordedEvent]
) -> None:
    ruleset = RuleSet([rule])

    [is_true] = ruleset(with_history(customer, [rule], events))
    failed = ruleset.explain(0, customer)

    assert (failed == ()) is is_true


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(readable, facts, event_lists)
def test_a_condition_and_its_opposite_are_never_both_true(
    rule: Condition, customer: Facts, events: list[RecordedEvent]
) -> None:
    opposite = parse(f"not ({rule.source})")

    outcomes = RuleSet([rule, opposite])(with_history(customer, [rule], events))

    assert outcomes.count(True) <= 1
