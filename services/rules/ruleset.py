"""Rule sets: conditions decided in one call, and explained one at a time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import chain
from typing import Any

from services.rules.compiler import compile_formulas, compile_leaves
from services.rules.condition import Condition, Needs
from services.rules.facts import Facts
from services.rules.formula import (
    Conjunction,
    Formula,
    Leaf,
    Term,
    ValueKind,
    iterate_leaves,
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
    within: "tuple[FailedPart, ...]" = ()


class RuleSet:
    """Conditions compiled into one function: called with facts, it returns which are true."""

    def __init__(self, conditions: Sequence[Condition]) -> None:
        self.conditions = tuple(conditions)
        self.needs = Needs.from_conditions(self.conditions)
        self._evaluate = compile_formulas([condition.formula for condition in self.conditions])
        self._leaves: dict[int, Any] = {}  # by condition, compiled for its first explanation

    def __call__(self, facts: Facts) -> list[bool]:
        return self._evaluate(facts)

    def explain(self, index: int, facts: Facts) -> tuple[FailedPart, ...]:
        """Every part of one condition that is not true; empty if the condition is."""
        return _collect_failures(self.conditions[index].formula, iter(self._rows(index, facts)))

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


def evaluate(condition: Condition, facts: Facts) -> bool:
    """Whether one condition is true; many of them belong in one `RuleSet`."""
    return _compile_one(condition)(facts)[0]


@lru_cache(maxsize=1024)
def _compile_one(condition: Condition) -> RuleSet:
    return RuleSet((condition,))


def _collect_failures(formula: Formula, rows: Iterator[list[Any]]) -> tuple[FailedPart, ...]:
    """The parts of a formula that failed. Takes from `rows` one row for every leaf in it."""
    if isinstance(formula, Leaf):
        holds, *values = next(rows)
        return () if holds else (FailedPart(formula.excerpt, _describe_actual(formula, values)),)
    results = [_collect_failures(part, rows) for part in formula.parts]
    if isinstance(formula, Conjunction):
        return tuple(failed for result in results for failed in result)
    if not all(results):
        return ()
    alternatives = (
        result if isinstance(part, Leaf) or len(result) == 1 else (_join(part, result),)
        for part, result in zip(formula.parts, results, strict=True)
    )
    return (_join(formula, chain.from_iterable(alternatives)),)


def _join(formula: Formula, within: Iterable[FailedPart]) -> FailedPart:
    return FailedPart(formula.excerpt, None, tuple(within))


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
