"""The values that scalars and enums may have in a response. A service can write anything; what is
not of the type is not passed on.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from graphql import GraphQLEnumType, GraphQLNamedType, GraphQLSchema

ScalarReader: TypeAlias = Callable[[Any], Any]
"""The value as clients get it, None if it is not of the type. Never called with None."""

MAX_INT = 2**31 - 1
MIN_INT = -(2**31)


def _string(value: Any) -> Any:
    return value if type(value) is str else None


def _boolean(value: Any) -> Any:
    return value if type(value) is bool else None


def _int(value: Any) -> Any:
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and MIN_INT <= value <= MAX_INT else None


def _float(value: Any) -> Any:
    return value if type(value) is float or type(value) is int else None


def _id(value: Any) -> Any:
    if type(value) is str:
        return value
    return str(value) if type(value) is int else None


BUILT_IN: dict[str, ScalarReader] = {
    "String": _string,
    "Boolean": _boolean,
    "Int": _int,
    "Float": _float,
    "ID": _id,
}


def scalar_reader(type_: GraphQLNamedType, schema: GraphQLSchema) -> ScalarReader | None:
    """How to read a value of a scalar or enum; None if any JSON is one. Of an enum, clients see
    the values that `schema` has.
    """
    if not isinstance(type_, GraphQLEnumType):
        return BUILT_IN.get(type_.name)
    public = schema.type_map.get(type_.name)
    visible = frozenset(public.values) if isinstance(public, GraphQLEnumType) else frozenset()
    return lambda value: value if type(value) is str and value in visible else None


def is_hidden(type_: GraphQLNamedType, value: Any) -> bool:
    """Whether a value is one of the enum's that clients don't see: that is no error. `type_` is of
    the full schema.
    """
    return isinstance(type_, GraphQLEnumType) and type(value) is str and value in type_.values
