"""The segments there are and the series they and other services need, as one version."""

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import chain
from typing import NamedTuple

from services.contracts.base import Json
from services.profile.domain.calls import Call
from services.profile.domain.customer import Customer
from services.rules import (
    MISSING,
    SEGMENT,
    Facts,
    RuleSet,
    Series,
    SeriesSet,
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
    condition: str
    published_at: datetime


class ComputedVersion(NamedTuple):
    """What customers computed with a version have: these series, for these declarations."""

    series: tuple[Series, ...]
    answers: Mapping[str, int]


@dataclass(frozen=True)
class SegmentDefinitions:
    """One version of all that is computed from every customer's history."""

    version: int
    segments: tuple[Segment, ...]
    declared: tuple[Series, ...]
    """The series other services need."""
    answers: Mapping[str, int] = field(default_factory=dict)
    """These services, each with the version of its declaration that last needed more."""

    @cached_property
    def rules(self) -> RuleSet:
        return RuleSet([parse(segment.condition, SEGMENT) for segment in self.segments])

    @cached_property
    def series(self) -> SeriesSet:
        return SeriesSet([*self.rules.needs.series, *self.declared])

    def missing_series(self, computed: Iterable[Series]) -> SeriesSet:
        """The series that a customer who has the `computed` ones lacks."""
        present = {series.key: series for series in computed}
        return SeriesSet(
            series
            for key, series in self.series.series.items()
            if key not in present or not present[key].covers(series)
        )

    def observe(self, customer: Customer, call: Call, now: datetime) -> None:
        changed = observe(
            customer.series, self.series, call.name, call.properties, call.occurred_at, now
        )
        if changed:
            customer.series = {**customer.series, **changed}
            customer.is_changed = True

    def recompute_series(
        self,
        customer: Customer,
        before: ComputedVersion,
        missing: SeriesSet,
        events: Sequence[RecordedEvent],
        now: datetime,
    ) -> None:
        """Bring the series of a customer of another version to this one.

        `events` are those the `missing` series ask for. That a customer has no events of a new
        series is a change too: until then it was not known.
        """
        rebuilt = rebuild(missing, events, now)
        present = {k: state for k, state in customer.series.items() if k in self.series.series}
        series = {k: state for k, state in (present | rebuilt).items() if state["count"]}
        customer.is_changed |= series != customer.series or before.answers != self.answers
        customer.series = series
        customer.rules_version = self.version

    def assign_segments(self, customer: Customer, now: datetime) -> None:
        """Put the customer in the segments they are in at `now`; say when time may change that."""
        outcomes = self.rules(facts_of(customer, now))
        pairs = zip(self.segments, outcomes, strict=True)
        passed = {segment.key for segment, is_member in pairs if is_member}
        customer.set_segments(passed, now)
        customer.reevaluate_at = next_expiry(self.rules.needs, customer.series, now)

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Every aggregate the segments ask for, as it is written there."""
        texts = (find_aggregates(segment.condition) for segment in self.segments)
        return tuple(dict.fromkeys(chain.from_iterable(texts)))

    @cached_property
    def _feature_rules(self) -> RuleSet:
        return RuleSet([parse(f"exists({text})", SEGMENT) for text in self.features])

    def feature_values(self, customer: Customer, now: datetime) -> dict[str, Json]:
        """The value of every feature at `now`; None for one without a value."""
        facts = facts_of(customer, now)
        rules = self._feature_rules
        values = {text: rules.values(i, facts)[0] for i, text in enumerate(self.features)}
        return {text: None if value == MISSING else value for text, value in values.items()}


EMPTY = SegmentDefinitions(version=0, segments=(), declared=())


def facts_of(customer: Customer, now: datetime) -> Facts:
    return Facts(
        now=now,
        traits=customer.trait_values(),
        segments=customer.segments.keys(),
        consent=customer.consent_values(),
        history=customer.series,
    )


def find_aggregates(condition: str) -> list[str]:
    """The `events.…(…)` calls of a condition, in the order and spelling of its author."""
    text = f"(\n{condition}\n)"
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
