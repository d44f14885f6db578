"""Rule sets: conditions decided in one call, and explained one at a time."""

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
    iterate_leaves,
    split_parts,
)
from services.rules.functions import EPOCH

MISSING = "missing"


@dataclass(frozen=True, slots=True)
class FailedPart:
    """A part of a condition that was not true, and the actual value.

    `actual` is the value compared, "missing" if there was none, or values by name if the part
    reads several. An `or` that failed holds every alternative in `within`, and an `and`
    inside it those of its parts that failed.
    """

    text: str
    actual: Any
    line: int
    column: int
    within: "tuple[FailedPart, ...]" = ()


class RuleSet:
    """Conditions compiled into one function.

    Calling it with facts returns one outcome per condition: PASSED, or the index in
    `parts[i]` of the first part that was not true.
    """

    def __init__(self, conditions: Sequence[Condition]) -> None:
        self.conditions = tuple(conditions)
        self.needs = Needs.of(self.conditions)
        self.parts = tuple(
            tuple(part.excerpt.text for part in split_parts(condition.formula))
            for condition in self.conditions
        )
        self._outcomes = compile_outcomes([condition.formula for condition in self.conditions])
        self._leaves: dict[int, Any] = {}  # compiled when first asked for; one per condition

    def __call__(self, facts: Facts) -> list[int]:
        return self._outcomes(facts)

    def explain(self, index: int, facts: Facts) -> tuple[FailedPart, ...]:
        """Every part of one condition that is not true; empty if the condition is."""
        formula, rows = self.conditions[index].formula, iter(self._rows(index, facts))
        return tuple(
            failed for part in split_parts(formula) for failed in _collect_failures(part, rows)
        )

    def values(self, index: int, facts: Facts) -> list[Any]:
        """The value that each leaf of one condition looks at, as JSON, or "missing"."""
        formula = self.conditions[index].formula
        pairs = zip(iterate_leaves(formula), self._rows(index, facts), strict=True)
        return [_describe_actual(leaf, values) for leaf, (_, *values) in pairs]

    def _rows(self, index: int, facts: Facts) -> list[list[Any]]:
        """For every leaf of one condition whether it holds, and the values it looks at."""
        if index not in self._leaves:
            formula = self.conditions[index].formula
            self._leaves[index] = compile_leaves(list(iterate_leaves(formula)))
        rows: list[list[Any]] = self._leaves[index](facts)
        return rows


def compile_rules(conditions: Sequence[Condition]) -> RuleSet:
    """Compile conditions that are decided in one call."""
    return RuleSet(conditions)


def evaluate(condition: Condition, facts: Facts) -> bool:
    """Whether one condition is true; many of them belong in `compile_rules`."""
    return _single(condition)(facts)[0] == PASSED


@lru_cache(maxsize=1024)
def _single(condition: Condition) -> RuleSet:
    return RuleSet((condition,))


def _collect_failures(formula: Formula, rows: Iterator[list[Any]]) -> tuple[FailedPart, ...]:
    """The parts of a formula that failed. Takes from `rows` one row for every leaf in it."""
    if isinstance(formula, Leaf):
        holds, *values = next(rows)
        return () if holds else (_build_part(formula.excerpt, _describe_actual(formula, values)),)
    results = [_collect_failures(part, rows) for part in formula.parts]
    if isinstance(formula, Conjunction):
        return tuple(failed for result in results for failed in result)
    if not all(results):
        return ()
    alternatives = (
        result if isinstance(part, Leaf) or len(result) == 1 else (_join_parts(part, result),)
        for part, result in zip(formula.parts, results, strict=True)
    )
    return (_join_parts(formula, tuple(part for found in alternatives for part in found)),)


def _join_parts(formula: Formula, within: tuple[FailedPart, ...]) -> FailedPart:
    return _build_part(formula.excerpt, None, within)


def _build_part(
    excerpt: SourceExcerpt, actual: Any, within: tuple[FailedPart, ...] = ()
) -> FailedPart:
    return FailedPart(excerpt.text, actual, excerpt.line, excerpt.column, within)


def _describe_actual(leaf: Leaf, values: list[Any]) -> Any:
    """The actual values of a leaf; one without operands is the opposite of its atom."""
    actual = {
        name: _format_value(term, value)
        for (name, term), value in zip(leaf.operands, values, strict=True)
    }
    if len(actual) > 1:
        return actual
    return next(iter(actual.values()), leaf.negated)


def _format_value(term: Term, value: Any) -> Any:
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
