"""Hypothesis strategies: any value an event of a given class may carry."""

from datetime import UTC, datetime
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin
from uuid import UUID

from hypothesis import strategies as st
from pydantic import BaseModel

from services.contracts.base import Event

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: WORDS,
    int: NUMBERS,
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    UUID: st.uuids(),
    datetime: st.datetimes(timezones=st.just(UTC)),
    NoneType: st.none(),
}
PLAIN[Any] = st.recursive(
    st.one_of(WORDS, NUMBERS, PLAIN[bool], PLAIN[float], PLAIN[NoneType]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


def any_event(event: type[Event]) -> st.SearchStrategy[Event]:
    """Any event of a class."""
    found: st.SearchStrategy[Event] = any_value(event)
    return found


def any_value(annotation: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that contracts use; raises KeyError for one they have not used before."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        parts = {n: any_value(f.annotation) for n, f in annotation.model_fields.items()}
        return st.builds(annotation, **parts)
    arguments = [any_value(argument) for argument in get_args(annotation) if argument is not ...]
    origin = get_origin(annotation)
    if origin is tuple:
        return st.lists(arguments[0], max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(*arguments, max_size=3)
    if origin in (Union, UnionType):
        return st.one_of(*arguments)
    return PLAIN[annotation]
