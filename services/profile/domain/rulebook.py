"""Which segments there are and which series are kept: all that is computed from history."""

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from services.contracts.base import Json
from services.profile.domain.calls import Call
from services.profile.domain.customer import Customer
from services.rules import (
    MISSING,
    PASSED,
    SEGMENT,
    Condition,
    Facts,
    RuleSet,
    Series,
    SeriesSet,
    compile_rules,
    next_expiry,
    observe,
    parse,
    rebuild,
)
from services.rules.history import RecordedEvent


class Segment(NamedTuple):
    """A published segment: who is in it is said by its condition."""

    key: str
    version: int
    name: str
    description: str
    condition: Condition
    published_at: datetime


class Kept(NamedTuple):
    """What customers of a version have: these series, which answer these declarations."""

    series: tuple[Series, ...]
    answers: Mapping[str, int]


@dataclass(frozen=True)
class Rulebook:
    """One version of what is kept and computed for every customer."""

    version: int
    segments: tuple[Segment, ...]
    declared: tuple[Series, ...]
    """What other services need kept."""
    answers: Mapping[str, int] = field(default_factory=dict)
    """These services, each with the version in which that need last grew."""

    @cached_property
    def rules(self) -> RuleSet:
        """All segment conditions as one function."""
        return compile_rules([segment.condition for segment in self.segments])

    @cached_property
    def series(self) -> SeriesSet:
        """Everything kept."""
        return SeriesSet([*self.rules.needs.series, *self.declared])

    def missing(self, kept: Iterable[Series]) -> SeriesSet:
        """The series a customer lacks who was computed with `kept`."""
        held = {series.key: series for series in kept}
        return SeriesSet(
            series
            for key, series in self.series.series.items()
            if key not in held or not held[key].covers(series)
        )

    def observe(self, customer: Customer, call: Call, now: datetime) -> None:
        """Count an event in the customer's series."""
        changed = observe(
            customer.series, self.series, call.name, call.properties, call.occurred_at, now
        )
        if changed:
            customer.series = {**customer.series, **changed}
            customer.changed = True

    def catch_up(
        self,
        customer: Customer,
        before: Kept,
        lacking: SeriesSet,
        events: Sequence[RecordedEvent],
        now: datetime,
    ) -> None:
        """Bring a customer of another version to this one, given the events `lacking` asks for.

        That he has no events of a new series is news too: until then it was not known.
        """
        built = rebuild(lacking, events, now)
        kept = {k: state for k, state in customer.series.items() if k in self.series.series}
        series = {k: state for k, state in (kept | built).items() if state["count"]}
        customer.changed |= series != customer.series or before.answers != self.answers
        customer.series = series
        customer.rules_version = self.version

    def decide(self, customer: Customer, now: datetime) -> None:
        """Say which segments he is in at `now`, and when time alone may change that."""
        outcomes = self.rules(facts_of(customer, now))
        pairs = zip(self.segments, outcomes, strict=True)
        customer.move_to({segment.key for segment, outcome in pairs if outcome == PASSED}, now)
        customer.reevaluate_at = next_expiry(self.rules.needs, customer.series, now)

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Every aggregate the segments ask for, as it is written there."""
        found = {text: None for segment in self.segments for text in aggregates(segment.condition)}
        return tuple(found)

    @cached_property
    def _shown(self) -> RuleSet:
        return compile_rules([parse(f"missing({text})", SEGMENT) for text in self.features])

    def feature_values(self, customer: Customer, now: datetime) -> dict[str, Json]:
        """What every feature is worth at `now`; None for one without a value."""
        facts = facts_of(customer, now)
        return {text: self._value(index, facts) for index, text in enumerate(self.features)}

    def _value(self, index: int, facts: Facts) -> Any:
        """`missing(x)` fails when x has a value, and the explanation of the failure shows it."""
        failed = self._shown.explain(index, facts)
        return None if not failed or failed[0].actual == MISSING else failed[0].actual


EMPTY = Rulebook(version=0, segments=(), declared=())


def facts_of(customer: Customer, now: datetime) -> Facts:
    """What conditions may know of a customer."""
    return Facts(
        now=now,
        traits=customer.trait_values(),
        segments=customer.segments.keys(),
        consent=customer.decided_consents(),
        history=customer.series,
    )


def aggregates(condition: Condition) -> list[str]:
    """The `events.…(…)` calls of a condition, in the order and spelling of its author."""
    text = f"(\n{condition.source}\n)"
    tree = ast.parse(text, mode="eval")
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "events"
    ]
    calls.sort(key=lambda node: (node.lineno, node.col_offset))
    return [" ".join((ast.get_source_segment(text, call) or "").split()) for call in calls]
