"""The arguments of a tool as JSON Schema, from the variables its operation declares."""

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from graphql import (
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLSchema,
    OperationDefinitionNode,
    VariableDefinitionNode,
    is_input_type,
    is_required_input_field,
    type_from_ast,
    value_from_ast_untyped,
)

JSON = dict[str, Any]
Definitions: TypeAlias = dict[str, JSON]
"""Schemas of input types, enums and scalars, by the name of the type."""

DESCRIPTION = "description"
SCALARS: Mapping[str, JSON] = {
    "Boolean": {"type": "boolean"},
    "Date": {"type": "string", "format": "date"},
    "DateTime": {"type": "string", "format": "date-time"},
    "Float": {"type": "number"},
    "ID": {"type": "string"},
    "Int": {"type": "integer"},
    "String": {"type": "string"},
}
"""Any other scalar may be any JSON."""


def describe_arguments(operation: OperationDefinitionNode, schema: GraphQLSchema) -> JSON:
    """The schema of an object with one property for each variable of a valid operation."""
    definitions: Definitions = {}
    declared = operation.variable_definitions or ()
    arguments = _describe_object(
        {
            each.variable.name.value: _describe_variable(each, schema, definitions)
            for each in declared
        },
        [each.variable.name.value for each in declared if _is_required(each)],
    )
    return arguments | ({"$defs": definitions} if definitions else {})


def _describe_object(properties: JSON, required: list[str]) -> JSON:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _is_required(declared: VariableDefinitionNode) -> bool:
    return declared.type.kind == "non_null_type" and declared.default_value is None


def _describe_variable(
    declared: VariableDefinitionNode, schema: GraphQLSchema, definitions: Definitions
) -> JSON:
    type_ = type_from_ast(schema, declared.type)
    assert is_input_type(type_), "a valid operation declares input types"
    description = declared.description.value if declared.description else None
    described = _describe(type_, definitions) | _text(description)
    if declared.default_value is not None:
        described["default"] = value_from_ast_untyped(declared.default_value)
    return described


def _describe(type_: Any, definitions: Definitions) -> JSON:
    if isinstance(type_, GraphQLNonNull):
        return _describe(type_.of_type, definitions)
    if isinstance(type_, GraphQLList):
        return {"type": "array", "items": _describe(type_.of_type, definitions)}
    if type_.name in SCALARS:
        return dict(SCALARS[type_.name])
    if type_.name not in definitions:
        definitions[type_.name] = {}  # an input type may hold itself
        definitions[type_.name] = _describe_named(type_, definitions) | _text(_describe_type(type_))
    return {"$ref": f"#/$defs/{type_.name}"}


def _describe_named(type_: GraphQLNamedType, definitions: Definitions) -> JSON:
    if isinstance(type_, GraphQLEnumType):
        return {"type": "string", "enum": list(type_.values)}
    if not isinstance(type_, GraphQLInputObjectType):
        return {}
    fields = {
        name: _describe_field(field, definitions, is_alternative=type_.is_one_of)
        for name, field in type_.fields.items()
    }
    if type_.is_one_of:
        alternatives = [_describe_object({name: each}, [name]) for name, each in fields.items()]
        return {"type": "object", "oneOf": alternatives}
    required = [name for name, field in type_.fields.items() if is_required_input_field(field)]
    return _describe_object(fields, required)


def _describe_field(
    field: GraphQLInputField, definitions: Definitions, *, is_alternative: bool
) -> JSON:
    described = _describe(field.type, definitions) | _text(field.description)
    default = None if is_alternative else field.default
    if default is not None:
        described["default"] = (
            default.value if default.literal is None else value_from_ast_untyped(default.literal)
        )
    return described


def _describe_type(type_: GraphQLNamedType) -> str | None:
    """The description of a type; of an enum, with those of its values."""
    if not isinstance(type_, GraphQLEnumType):
        return type_.description
    values = (f"{name}: {v.description}" for name, v in type_.values.items() if v.description)
    return "\n".join(filter(None, (type_.description, *values)))


def _text(description: str | None) -> JSON:
    """A description on one line; none if there is none."""
    text = re.sub(r"\s+", " ", description or "").strip()
    return {DESCRIPTION: text} if text else {}
