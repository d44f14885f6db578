"""What makes a schema no valid GraphQL: where that is, in which subgraphs, and how to mend it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from graphql import DefinitionNode, GraphQLError, GraphQLSchema, Node, validate_schema

from gateway.supergraph.errors import Problem, sentence
from gateway.supergraph.syntax_tree import name_of

Owners: TypeAlias = Callable[[str], Iterable[str]]
"""Which subgraphs have what a coordinate names; all of them if it is empty."""

REMEDIES: Mapping[str, str] = {
    "Query root type must be provided": "Define a field of Query that clients may see.",
    "must define one or more": "Give it one, or remove it.",
    "must be Output Type": "Return an object, interface, union, scalar or enum.",
    "must be Input Type": "Take an input type, scalar or enum.",
    "invalid default value": "Write a default that is of the type.",
    "must not begin with '__'": "Give it another name.",
    "expected but": "Add it there, or remove it from the interface.",
    "expects type": "Give it the interface's type, or one that is part of it.",
    "must not be required type": "Make it optional, or give it to the interface's field, too.",
    "is not deprecated": "Deprecate the interface's field, too.",
    "cannot be deprecated": "Make it optional, or take @deprecated away.",
    "circular reference": "Take one of them away.",
    "must implement": "Name that interface after `implements`, too.",
    "must only implement Interface types": "Take it away, or make it an interface.",
    "can only include Object types": "Name object types only.",
    "references itself": "Make one of these fields optional.",
    "must be nullable": "Make it nullable; @oneOf takes just one of the fields.",
    "cannot have a default value": "Take the default away; @oneOf takes just one of the fields.",
}
"""How to mend what is no valid GraphQL, by what the reference implementation says of it."""
OTHERWISE = "Make it valid GraphQL."


def faults(
    schema: GraphQLSchema, definitions: Sequence[DefinitionNode], owners: Owners
) -> Iterator[Problem]:
    """Everything the specification forbids in a schema that was built of these definitions."""
    errors = validate_schema(schema)
    places = dict(_places(definitions)) if errors else {}
    for error in errors:
        found = [places[id(node)] for node in error.nodes or () if id(node) in places] or [""]
        subgraphs = dict.fromkeys(owner for place in found for owner in owners(place))
        yield Problem(tuple(subgraphs), found[0], sentence(error.message), _remedy(error))


def _remedy(error: GraphQLError) -> str:
    said = (remedy for part, remedy in REMEDIES.items() if part in error.message)
    return next(said, OTHERWISE)


def _places(definitions: Sequence[DefinitionNode]) -> Iterator[tuple[int, str]]:
    """The coordinate of each syntax node, by its identity."""
    for definition in definitions:
        name = name_of(definition)
        yield from _inside(definition, name)
        for member in (
            *(getattr(definition, "fields", None) or ()),
            *(getattr(definition, "values", None) or ()),
        ):
            coordinate = f"{name}.{member.name.value}"
            yield from _inside(member, coordinate)
            for argument in getattr(member, "arguments", None) or ():
                yield from _inside(argument, f"{coordinate}({argument.name.value}:)")


def _inside(node: Node, coordinate: str) -> Iterator[tuple[int, str]]:
    yield id(node), coordinate
    for key in node.keys:
        part = getattr(node, key)
        for below in part if isinstance(part, tuple | list) else (part,):
            if isinstance(below, Node):
                yield from _inside(below, coordinate)
