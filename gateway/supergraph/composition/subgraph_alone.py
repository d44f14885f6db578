"""What makes one subgraph no valid schema by itself, whatever the others would add to it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from graphql import (
    DefinitionNode,
    EnumTypeDefinitionNode,
    FieldDefinitionNode,
    GraphQLError,
    InputObjectTypeDefinitionNode,
    InterfaceTypeDefinitionNode,
    NamedTypeNode,
    NameNode,
    ObjectTypeDefinitionNode,
    ScalarTypeDefinitionNode,
    UnionTypeDefinitionNode,
    parse,
)

from gateway.supergraph.composition.api_schema import build_schema, unknown_types
from gateway.supergraph.composition.schema_errors import OTHERWISE, faults
from gateway.supergraph.composition.subgraph_schema import (
    Definition,
    SubgraphDefinition,
    TypeDefinition,
    owners,
)
from gateway.supergraph.errors import Problem, sentence
from gateway.supergraph.syntax_tree import copied

NODES: Mapping[str, type[Any]] = {
    "object": ObjectTypeDefinitionNode,
    "interface": InterfaceTypeDefinitionNode,
    "input_object": InputObjectTypeDefinitionNode,
    "enum": EnumTypeDefinitionNode,
    "union": UnionTypeDefinitionNode,
    "scalar": ScalarTypeDefinitionNode,
}
MACHINERY = parse("type Query { _service: Boolean }").definitions
"""Every subgraph answers Federation's own queries, so one without others has a Query, too."""


def faults_alone(subgraph: SubgraphDefinition) -> Iterator[Problem]:
    """Types that it names and doesn't define, types without members, interfaces that aren't
    fulfilled, and whatever else GraphQL forbids. Directives are judged in the merged schema.
    """
    definitions = [_definition(type_) for type_ in subgraph.types.values()]
    definitions += () if "Query" in subgraph.types else MACHINERY
    owning = partial(owners, {subgraph.name: subgraph})
    unknown = list(unknown_types(definitions, owning))
    yield from unknown
    told = {problem.coordinate for problem in unknown}
    try:
        found = list(faults(build_schema(definitions), definitions, owning))
    except (GraphQLError, TypeError) as error:
        # Some faults stand in the way of finding others: a default where none can be, say.
        found = [Problem((subgraph.name,), "", sentence(error.args[0]), OTHERWISE)]
    yield from (problem for problem in found if problem.coordinate not in told)


def _definition(type_: TypeDefinition) -> DefinitionNode:
    """The type with all its extensions, as one definition."""
    members = tuple(_without_directives(member.node) for member in type_.members.values())
    parts: dict[str, Any] = {
        "fields": members,
        "values": members,
        "interfaces": _named(type_.interfaces),
        "types": _named(type_.union),
    }
    node = NODES[type_.kind]
    taken = {key: part for key, part in parts.items() if key in node.keys}
    definition: DefinitionNode = node(name=NameNode(value=type_.name), **taken)
    return definition


def _without_directives(member: Definition) -> Definition:
    if not isinstance(member, FieldDefinitionNode):
        return copied(member, directives=())
    arguments = tuple(copied(argument, directives=()) for argument in member.arguments or ())
    return copied(member, directives=(), arguments=arguments)


def _named(names: Sequence[str]) -> tuple[NamedTypeNode, ...]:
    return tuple(NamedTypeNode(name=NameNode(value=name)) for name in dict.fromkeys(names))
