"""Parsing aggregates over the history: the series they need and their windows."""

import ast
from collections.abc import Iterable, Sequence
from datetime import timedelta

from services.chassis.errors import nearest
from services.rules.definition_fields import parse_period
from services.rules.errors import ConditionTooLarge, InvalidArgument, UnknownName
from services.rules.formula import Aggregation, Conjunction, Formula, Term, ValueKind
from services.rules.functions import AGGREGATES, MICROSECOND
from services.rules.parser.formula_parser import FormulaParser
from services.rules.series import Series, merge_series
from services.rules.vocabulary import FILTER


class ConditionParser(FormulaParser):
    def parse_aggregate(self, node: ast.Call, aggregate: str) -> Term:
        self._check_root("events", node)
        if aggregate not in AGGREGATES:
            hint = nearest(aggregate, AGGREGATES)
            raise self.error(UnknownName, node, f"There is no `events.{aggregate}`.", hint)
        window_us = self._parse_window(node)
        series = self._parse_series(node, aggregate, window_us)
        self.series.append(series)
        if len(merge_series(self.series)) > self.limits.series:
            problem = f"The condition reads more than {self.limits.series} series of events."
            hint = "Make segments of some of its parts."
            raise self.error(ConditionTooLarge, node, problem, hint)
        if window_us is not None:
            self.windows.add((series.key, window_us))
        return _build_aggregation(aggregate, series, window_us)

    def _parse_window(self, node: ast.Call) -> int | None:
        for keyword in node.keywords:
            if keyword.arg != "last":
                name = keyword.arg or "**"
                problem = f"`{name}=` is not known here."
                hint = f'Use `last="7d"` for the window and `{name} == …` to filter.'
                raise self.error(InvalidArgument, keyword.value, problem, hint)
        if not node.keywords:
            return None
        value = node.keywords[0].value
        try:
            window = parse_period(getattr(value, "value", None), longest=timedelta.max)
        except ValueError as error:
            problem = f"{ast.unparse(value)} is not a window."
            raise self.error(InvalidArgument, value, problem, f"{error}.") from None
        if window > timedelta(days=self.limits.window_days):
            problem = f"The window is longer than the limit of {self.limits.window_days} days."
            hint = "Leave `last` out to look at a lifetime."
            raise self.error(ConditionTooLarge, value, problem, hint)
        return window // MICROSECOND

    def _parse_series(self, node: ast.Call, aggregate: str, window_us: int | None) -> Series:
        name, *rest = node.args or [node]
        if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
            problem = f"`events.{aggregate}` begins with the name of an event."
            hint = f'Write `events.{aggregate}("product_viewed", …)`.'
            raise self.error(InvalidArgument, name, problem, hint)
        event = str(self._parse_literal(name).value)
        bare = [n for n in rest if isinstance(n, ast.Name | ast.Attribute | ast.Subscript)]
        filters = [n for n in rest if n not in bare]
        self._check_property(node, aggregate, bare)
        inner = ConditionParser(self.source, FILTER, self.limits)
        return Series(
            event,
            canonicalize(filters) if filters else None,
            ast.unparse(bare[0]) if bare else None,
            keep_s=(window_us or 0) / 1_000_000,
            lifetime_distinct=aggregate == "distinct" and window_us is None,
            predicate=inner.parse_filters(filters) if filters else None,
            lookup=inner.parse_property(bare[0]) if bare else None,
        )

    def parse_filters(self, nodes: list[ast.expr]) -> Formula:
        parts = tuple(self.parse_formula(node) for node in nodes)
        if len(parts) == 1:
            return parts[0]
        return Conjunction(parts, self.source.excerpt(nodes[0], False))

    def _check_property(self, node: ast.Call, aggregate: str, bare: Sequence[ast.expr]) -> None:
        fits = {"count": not bare, "sum": len(bare) == 1, "distinct": len(bare) == 1}
        if fits.get(aggregate, len(bare) <= 1):
            return
        expected = {"count": "no property", "sum": "one property", "distinct": "one property"}
        problem = f"`events.{aggregate}` takes {expected.get(aggregate, 'at most one property')}."
        hint = "A bare name is the property looked at; a filter compares, as in `gift == True`."
        raise self.error(InvalidArgument, bare[-1] if bare else node, problem, hint)


def canonicalize(filters: Iterable[ast.expr]) -> str:
    """The conjunction of the filters in one spelling, whatever their order and spacing."""
    parts = sorted({ast.unparse(part) for part in filters for part in _split_conjunction(part)})
    return " and ".join(
        f"({part})" if isinstance(ast.parse(part, mode="eval").body, ast.BoolOp) else part
        for part in parts
    )


def _split_conjunction(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return [part for value in node.values for part in _split_conjunction(value)]
    return [node]


def _build_aggregation(aggregate: str, series: Series, window_us: int | None) -> Aggregation:
    kind = ValueKind.NUMBER
    if aggregate in ("last", "first"):
        kind = ValueKind.ANY if series.property else ValueKind.TIME
        aggregate = aggregate if series.property else f"{aggregate}_time"
    return Aggregation(aggregate, series.key, window_us, kind)
