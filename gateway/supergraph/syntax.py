"""What the syntax tree of an operation uses: fragments, variables, and conditions of its fields."""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLIncludeDirective,
    GraphQLSkipDirective,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    VariableNode,
)
from graphql.language import Node

ROOTS = {
    OperationType.QUERY: "Query",
    OperationType.MUTATION: "Mutation",
    OperationType.SUBSCRIPTION: "Subscription",
}
"""The type that an operation's root fields belong to."""
CONDITIONALS = (GraphQLSkipDirective.name, GraphQLIncludeDirective.name)

Selecting: TypeAlias = OperationDefinitionNode | FragmentDefinitionNode


def used_fragments(
    operation: OperationDefinitionNode, document: DocumentNode
) -> dict[str, FragmentDefinitionNode]:
    """The fragments an operation spreads, also by way of other fragments, by name."""
    defined = fragments_in(document)
    used: dict[str, FragmentDefinitionNode] = {}
    waiting: list[Selecting] = [operation]
    while waiting:
        for selection in _selections(waiting.pop()):
            name = selection.name.value if isinstance(selection, FragmentSpreadNode) else None
            if name in defined and name not in used:
                used[name] = defined[name]
                waiting.append(defined[name])
    return used


def fragments_in(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    """The fragments a document defines, by name."""
    return {
        node.name.value: node
        for node in document.definitions
        if isinstance(node, FragmentDefinitionNode)
    }


def variables_in(*nodes: Node) -> frozenset[str]:
    """The names of the variables used in these syntax nodes."""
    return frozenset(n.name.value for n in _nodes(nodes) if isinstance(n, VariableNode))


def conditions_in(*definitions: Selecting) -> tuple[str, ...]:
    """The variables that @skip and @include read in these definitions."""
    found: set[str] = set()
    for definition in definitions:
        for selection in _selections(definition):
            for directive in selection.directives or ():
                if directive.name.value in CONDITIONALS:
                    found |= variables_in(*(directive.arguments or ()))
    return tuple(sorted(found))


def _selections(definition: Selecting) -> Iterator[SelectionNode]:
    """Everything selected in a definition, at any depth."""
    waiting = [definition.selection_set]
    while waiting:
        for selection in waiting.pop().selections:
            yield selection
            below = getattr(selection, "selection_set", None)
            if below:
                waiting.append(below)


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
