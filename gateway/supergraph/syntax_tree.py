"""Small tools for syntax trees of GraphQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from graphql import (
    BooleanValueNode,
    ConstArgumentNode,
    ConstDirectiveNode,
    ConstListValueNode,
    ConstValueNode,
    DefinitionNode,
    EnumValueNode,
    IntValueNode,
    ListTypeNode,
    NamedTypeNode,
    NameNode,
    Node,
    NonNullTypeNode,
    StringValueNode,
    TypeNode,
)

AnyNode = TypeVar("AnyNode", bound=Node)


@dataclass(frozen=True, slots=True)
class Bare:
    """The name of an enum value, written without quotes."""

    name: str


Value: TypeAlias = "str | bool | int | Bare | Sequence[Value]"


def copied(node: AnyNode, **changed: Any) -> AnyNode:
    """The node with some of its parts changed."""
    return type(node)(**{key: getattr(node, key) for key in node.keys} | changed)


def name_of(definition: DefinitionNode) -> str:
    """The name of a type definition."""
    return str(definition.name.value)  # type: ignore[attr-defined]


def named_type(type_: TypeNode) -> str:
    """The name inside lists and non-null wrappers."""
    while isinstance(type_, ListTypeNode | NonNullTypeNode):
        type_ = type_.type
    assert isinstance(type_, NamedTypeNode)
    return type_.name.value


def directive(name: str, /, **arguments: "Value | None") -> ConstDirectiveNode:
    """A use of a directive; arguments that are None are left out."""
    return ConstDirectiveNode(
        name=NameNode(value=name),
        arguments=tuple(
            ConstArgumentNode(name=NameNode(value=argument), value=_value(value))
            for argument, value in arguments.items()
            if value is not None
        ),
    )


def _value(value: "Value") -> ConstValueNode:
    match value:
        case Bare():
            return EnumValueNode(value=value.name)
        case bool():
            return BooleanValueNode(value=value)
        case int():
            return IntValueNode(value=str(value))
        case str():
            return StringValueNode(value=value)
        case _:
            return ConstListValueNode(values=tuple(_value(item) for item in value))
