"""From text to a typed formula: a whitelist, node by node."""

import ast
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from services.rules.condition import Condition
from services.rules.condition_source import ConditionSource
from services.rules.errors import InvalidSeries
from services.rules.parser.aggregate_parser import ConditionParser, canonicalize
from services.rules.series import Series
from services.rules.vocabulary import DECISION, FILTER, ConditionLimits, Vocabulary

DEFAULT_LIMITS = ConditionLimits()


def parse(
    source: str, vocabulary: Vocabulary = DECISION, limits: ConditionLimits = DEFAULT_LIMITS
) -> Condition:
    """Parse a condition.

    Raises:
        ConditionError: It is not an expression, uses a name or construct that conditions do
            not have, compares what cannot be compared, or is over a limit.
    """
    text = ConditionSource(source)
    parser = ConditionParser(text, vocabulary, limits)
    formula = parser.parse_formula(text.parse(limits))
    return Condition(source, formula, parser.list_needs())


def series_from_json(data: Mapping[str, Any]) -> Series:
    """Parse what `Series.to_json` returned, trusting nothing in it.

    Raises:
        InvalidSeries: A field is missing or of the wrong type.
        ConditionError: `where` or `property` is not a filter or a property.
    """
    match data:
        case {
            "event": str() as event,
            "where": (str() | None) as where,
            "property": (str() | None) as name,
            "keep_s": (int() | float()) as keep_s,
            "lifetime_distinct": is_distinct,
        } if not isinstance(keep_s, bool) and 0 <= keep_s < 1e10:
            return _build_series(event, where, name, float(keep_s), is_distinct is True)
    raise InvalidSeries(f"This is not a series: {data!r}.", hint="Send what `to_json` gave.")


@lru_cache(maxsize=4096)
def _build_series(
    event: str, where: str | None, name: str | None, keep_s: float, distinct: bool
) -> Series:
    predicate = lookup = None
    if where is not None:
        parser, tree = _start_filter(where)
        predicate, where = parser.parse_formula(tree), canonicalize([tree])
    if name is not None:
        parser, tree = _start_filter(name)
        lookup, name = parser.parse_property(tree), ast.unparse(tree)
    return Series(event, where, name, keep_s, distinct, predicate, lookup)


def _start_filter(text: str) -> tuple[ConditionParser, ast.expr]:
    limits = ConditionLimits(characters=3 * DEFAULT_LIMITS.characters)  # spaces of canonical text
    source = ConditionSource(text)
    return ConditionParser(source, FILTER, limits), source.parse(limits)
