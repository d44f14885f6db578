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
    try:
        event, where, name = data["event"], data["where"], data["property"]
        keep_s, distinct = data["keep_s"], data["lifetime_distinct"]
    except (KeyError, TypeError) as error:
        raise InvalidSeries(
            f"This is not a series: {error} is missing.", hint="Send what `to_json` gave."
        ) from None
    texts = isinstance(event, str) and all(isinstance(x, str | None) for x in (where, name))
    if not texts or type(keep_s) not in (int, float) or not 0 <= keep_s < 1e10:
        raise InvalidSeries(
            f"The fields of this series have wrong types: {dict(data)!r}.",
            hint="Send what `to_json` gave.",
        )
    return _build_series(event, where, name, float(keep_s), distinct is True)


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
