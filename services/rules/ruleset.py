"""Conditions at work: decided together, and explained one at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from services.rules.compiler import PASSED, compile_leaves, compile_outcomes
from services.rules.condition import Condition, Needs
from services.rules.facts import Facts
from services.rules.formula import (
    Conjunction,
    Formula,
    Leaf,
    SourceExcerpt,
    Term,
    ValueKind,
    leaves,
    parts_of,
)
from services.rules.functions import EPOCH

MISSING = "missing"


@dataclass(frozen=True, slots=True)
class FailedPart:
    """A part of a condition that was not true, and what it saw.

    `actual` is the value compared, "missing" if there was none, or values by name if the part
    looks at several. An `or` that failed holds every alternative in `within`, and an `and`
    inside it those of its parts that failed.
    """

    text: str
    actual: Any
    line: int
    column: int
    within: "tuple[FailedPart, ...]" = ()

    def to_json(self) -> dict[str, Any]:
        """The part as a trace keeps it."""
        return {
            "text": self.text,
            "saw": self.actual,
            "line": self.line,
            "column": self.column,
            "within": [part.to_json() for part in self.within],
        }


class RuleSet:
    """Conditions compiled into one function.

    Calling it with facts gives one outcome per condition: PASSED, or the index in
    `parts[i]` of the first part that was not true.
    """

    def __init__(self, conditions: Sequence[Condition]) -> None:
        self.conditions = tuple(conditions)
        self.needs = Needs.of(self.conditions)
        self.parts = tuple(
            tuple(part.place.text for part in parts_of(condition.formula))
            for condition in self.conditions
        )
        self._outcomes = compile_outcomes([condition.formula for condition in self.conditions])
        self._leaves: dict[int, Any] = {}  # compiled when first asked for; one per condition

    def __call__(self, facts: Facts) -> list[int]:
        return self._outcomes(facts)

    def explain(self, index: int, facts: Facts) -> tuple[FailedPart, ...]:
        """Every part of one condition that is not true; empty if the condition is."""
        formula = self.conditions[index].formula
        if index not in self._leaves:
            self._leaves[index] = compile_leaves(list(leaves(formula)))
        seen = iter(self._leaves[index](facts))
        return tuple(failed for part in parts_of(formula) for failed in _failed(part, seen))


def compile_rules(conditions: Sequence[Condition]) -> RuleSet:
    """Compile conditions that are decided together for one customer."""
    return RuleSet(conditions)


def evaluate(condition: Condition, facts: Facts) -> bool:
    """Whether one condition is true; many of them belong in `compile_rules`."""
    return _single(condition)(facts)[0] == PASSED


@lru_cache(maxsize=1024)
def _single(condition: Condition) -> RuleSet:
    return RuleSet((condition,))


def _failed(formula: Formula, seen: Iterator[list[Any]]) -> tuple[FailedPart, ...]:
    """The parts of a formula that failed. Takes from `seen` one row for every leaf in it."""
    if isinstance(formula, Leaf):
        holds, *values = next(seen)
        return () if holds else (_part(formula.place, _saw(formula, values)),)
    results = [_failed(part, seen) for part in formula.parts]
    if isinstance(formula, Conjunction):
        return tuple(failed for result in results for failed in result)
    if not all(results):
        return ()
    alternatives = (
        result if isinstance(part, Leaf) or len(result) == 1 else (_joint(part, result),)
        for part, result in zip(formula.parts, results, strict=True)
    )
    return (_joint(formula, tuple(part for found in alternatives for part in found)),)


def _joint(formula: Formula, within: tuple[FailedPart, ...]) -> FailedPart:
    return _part(formula.place, None, within)


def _part(place: SourceExcerpt, actual: Any, within: tuple[FailedPart, ...] = ()) -> FailedPart:
    return FailedPart(place.text, actual, place.line, place.column, within)


def _saw(leaf: Leaf, values: list[Any]) -> Any:
    """What a failed leaf saw. One without values to show saw the opposite of what it asks."""
    shown = {
        name: _shown(term, value) for (name, term), value in zip(leaf.seen, values, strict=True)
    }
    if len(shown) > 1:
        return shown
    return next(iter(shown.values()), leaf.negated)


def _shown(term: Term, value: Any) -> Any:
    """A value as JSON, times and durations readable."""
    if value is None or value != value:
        return MISSING
    if isinstance(value, datetime):
        return value.isoformat()
    try:
        if term.kind is ValueKind.TIME:
            return (EPOCH + timedelta(microseconds=value)).isoformat()
        return str(timedelta(microseconds=value)) if term.kind is ValueKind.DURATION else value
    except OverflowError:  # a time no calendar reaches
        return value
