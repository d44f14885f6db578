"""Parsing literals, and converting terms to the kind that is needed."""

import ast
from collections.abc import Iterable

from services.chassis.errors import nearest
from services.rules.condition import NAMES, Needs
from services.rules.condition_source import ConditionSource
from services.rules.errors import (
    ConditionError,
    InvalidArgument,
    KindMismatch,
    NotAllowed,
    UnknownName,
)
from services.rules.formula import ClockTerm, KindCast, Literal, Term, ValueKind
from services.rules.functions import as_time
from services.rules.series import Series, merge_series
from services.rules.vocabulary import WEEKDAYS, ConditionLimits, Vocabulary

WEEKDAY = ClockTerm("weekday", ValueKind.TEXT)


class KindConverter:
    """Checks and converts terms; holds what is parsed, by which rules, and what it needs."""

    def __init__(
        self, source: ConditionSource, vocabulary: Vocabulary, limits: ConditionLimits
    ) -> None:
        self.source = source
        self.vocabulary = vocabulary
        self.limits = limits
        self.names: dict[str, set[str]] = {name: set() for name in NAMES}
        self.series: list[Series] = []
        self.windows: set[tuple[str, int]] = set()

    def list_needs(self) -> Needs:
        """The data all parsed nodes read."""
        names = {name: frozenset(used) for name, used in self.names.items()}
        return Needs(**names, series=merge_series(self.series), windows=frozenset(self.windows))

    def error(
        self, error: type[ConditionError], node: ast.expr, problem: str, hint: str
    ) -> ConditionError:
        line, column = self.source.locate(node)
        return error(problem, hint=hint, source=self.source.text, line=line, column=column)

    def _convert(self, term: Term, kind: ValueKind, node: ast.expr) -> Term:
        if kind in (term.kind, ValueKind.ANY):
            return term
        if term.kind is ValueKind.ANY and kind is not ValueKind.DURATION:
            return KindCast(term, kind)
        if kind is ValueKind.TIME and isinstance(term, Literal) and term.kind is ValueKind.TEXT:
            return self._parse_time(str(term.value), node)
        hint = "Both sides of a comparison are of one kind"
        if kind is ValueKind.DURATION:
            hint = "Durations are written as `days(3)`, `hours(12)` or `minutes(30)`"
        problem = f"`{ast.unparse(node)}` is {term.kind.value} where {kind.value} is needed."
        hint = f"{hint}."
        raise self.error(KindMismatch, node, problem, hint)

    def _parse_literal(self, node: ast.Constant) -> Literal:
        match node.value:
            case bool():
                return Literal(node.value, ValueKind.YES_NO)
            case int() | float() if -(2**63) <= node.value < 2**63:
                return Literal(node.value, ValueKind.NUMBER)
            case int() | float():
                raise self.error(
                    InvalidArgument, node, "The number is too large.", "Stay within 64 bits."
                )
            case str() if encodable(node.value):
                return Literal(node.value, ValueKind.TEXT)
        self._refuse_none(node)
        problem = f"{node.value!a:.40} is not a value of conditions."
        hint = "Use texts of whole characters, numbers, True and False."
        raise self.error(NotAllowed, node, problem, hint)

    def _parse_time(self, text: str, node: ast.expr) -> Literal:
        moment = as_time(text)
        if moment != moment:
            problem = f"{text!r} is not a date or time."
            hint = 'Write "2026-01-31" or "2026-01-31T18:00:00+01:00".'
            raise self.error(InvalidArgument, node, problem, hint)
        return Literal(moment, ValueKind.TIME)

    def _check_weekday(self, term: Term, other: Term, node: ast.expr) -> None:
        """A fixed text beside `weekday` is the name of one."""
        if term != WEEKDAY or not isinstance(other, Literal) or other.value in WEEKDAYS:
            return
        hint = nearest(str(other.value), WEEKDAYS)
        raise self.error(UnknownName, node, f"There is no weekday {other.value!r}.", hint)

    def _refuse_none(self, node: ast.expr) -> None:
        if isinstance(node, ast.Constant) and node.value is None:
            problem = "Nothing can be compared with None."
            hint = "Ask `missing(traits.x)` or `exists(traits.x)`."
            raise self.error(NotAllowed, node, problem, hint)

    def _refuse_fixed(self, terms: Iterable[Term], node: ast.expr) -> None:
        if all(isinstance(term, Literal) for term in terms):
            problem = "This compares fixed values only, so its answer never changes."
            hint = "Compare with a trait, the context or the history of the customer."
            raise self.error(NotAllowed, node, problem, hint)


def encodable(text: str) -> bool:
    """Whether a text can leave as UTF-8, which lone surrogates cannot."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
