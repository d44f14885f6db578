"""The scalar `JSON`: any JSON value, with one limit of depth everywhere.

graphql-core reads a variable that was not sent as a value of its own wherever it stands in a
literal; here it is left out of objects, and null in lists, as in the literals of all other types.
What is stored deeper than what may come in now is shown without its depths.
"""

from typing import Any

from graphql import (
    GraphQLScalarType,
    GraphQLSchema,
    ListValueNode,
    ObjectValueNode,
    ValueNode,
    value_from_ast_untyped,
)
from graphql.pyutils import Undefined

from services.chassis.errors import RaakError
from services.contracts.base import DEEPEST_JSON, DEEPEST_OUTPUT, Json, cut_depth, is_deeper

NAME = "JSON"


class JsonTooDeep(RaakError, code="JSON_TOO_DEEP"):
    """A JSON value nests deeper than one may."""


def check_depth(value: Json, what: str) -> None:
    """Raise JsonTooDeep for a value that could not leave again."""
    if is_deeper(value, DEEPEST_JSON):
        raise JsonTooDeep(
            f"{what} nests deeper than {DEEPEST_JSON} levels.", hint="Send it flatter."
        )


def install_json_scalar(schema: GraphQLSchema) -> None:
    scalar = schema.type_map.get(NAME)
    if isinstance(scalar, GraphQLScalarType):
        scalar.parse_literal = read_literal  # type: ignore[method-assign]
        scalar.coerce_output_value = scalar.serialize = truncate_depth  # type: ignore[method-assign]


def read_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> Json:
    value = _value(node, variables)
    return None if value is Undefined else value


def truncate_depth(value: Json) -> Json:
    return cut_depth(value, DEEPEST_OUTPUT)


def _value(node: ValueNode, variables: dict[str, Any] | None) -> Json:
    if isinstance(node, ObjectValueNode):
        pairs = ((field.name.value, _value(field.value, variables)) for field in node.fields)
        return {name: value for name, value in pairs if value is not Undefined}
    if isinstance(node, ListValueNode):
        return [read_literal(item, variables) for item in node.values]
    return value_from_ast_untyped(node, variables)
