"""Syntax trees of GraphQL: small tools to read and build nodes."""

from collections.abc import Iterable, Iterator, Sequence
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
    OperationType,
    StringValueNode,
    TypeNode,
    VariableNode,
)

ROOTS = {
    OperationType.QUERY: "Query",
    OperationType.MUTATION: "Mutation",
    OperationType.SUBSCRIPTION: "Subscription",
}
"""The type that an operation's root fields belong to."""
TYPENAME = "__typename"


def variables_in(*nodes: Node) -> frozenset[str]:
    """The names of the variables used in these syntax nodes."""
    return frozenset(n.name.value for n in _nodes(nodes) if isinstance(n, VariableNode))


_KEYS: dict[str, tuple[str, ...]] = {}


def _keys_of(node: Node) -> tuple[str, ...]:
    """What a node of its kind holds; graphql-core works it out anew each time."""
    if node.kind not in _KEYS:
        _KEYS[node.kind] = tuple(node.keys)
    return _KEYS[node.kind]


def _nodes(nodes: Iterable[Node]) -> Iterator[Node]:
    """These nodes and all below them; much quicker than graphql-core's visitor."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for key in _keys_of(node):
            value = getattr(node, key, None)
            if isinstance(value, Node):
                waiting.append(value)
            elif isinstance(value, tuple):
                waiting += [item for item in value if isinstance(item, Node)]


AnyNode = TypeVar("AnyNode", bound=Node)


@dataclass(frozen=True, slots=True)
class EnumLiteral:
    """The name of an enum value, written without quotes."""

    name: str


Value: TypeAlias = "str | bool | int | EnumLiteral | Sequence[Value]"


def copy_node(node: AnyNode, **changed: Any) -> AnyNode:
    """The node with some of its parts changed."""
    return type(node)(**{key: getattr(node, key) for key in node.keys} | changed)


def definition_name(definition: DefinitionNode) -> str:
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
        case EnumLiteral():
            return EnumValueNode(value=value.name)
        case bool():
            return BooleanValueNode(value=value)
        case int():
            return IntValueNode(value=str(value))
        case str():
            return StringValueNode(value=value)
        case _:
            return ConstListValueNode(values=tuple(_value(item) for item in value))
