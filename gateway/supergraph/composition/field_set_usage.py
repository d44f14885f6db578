"""Which fields of a subgraph its keys, @requires and @provides select."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from graphql import FieldNode, SelectionSetNode
from graphql.language import InlineFragmentNode

from gateway.supergraph.field_sets import FieldSet
from gateway.supergraph.supergraph import Subgraph

Selected: TypeAlias = tuple[str, FieldNode]


def selected_on(selections: SelectionSetNode, type_name: str) -> Iterator[Selected]:
    """The fields selected here, each with the type it is selected on; not what is below them."""
    for selection in selections.selections:
        if isinstance(selection, FieldNode):
            yield type_name, selection
        elif isinstance(selection, InlineFragmentNode):
            condition = selection.type_condition
            narrowed = condition.name.value if condition else type_name
            yield from selected_on(selection.selection_set, narrowed)


@dataclass(frozen=True, slots=True)
class FieldSetUse:
    """A field set and the directive that uses it."""

    directive: str
    coordinate: str
    on: str
    """The type it is selected on."""
    fields: FieldSet


def field_set_uses(subgraph: Subgraph) -> Iterator[FieldSetUse]:
    for type_ in subgraph.types.values():
        for key in type_.keys:
            yield FieldSetUse("@key", type_.name, type_.name, key.fields)
        for found in type_.fields.values():
            coordinate = f"{type_.name}.{found.name}"
            if found.requires:
                yield FieldSetUse("@requires", coordinate, type_.name, found.requires)
            if found.provides:
                yield FieldSetUse("@provides", coordinate, found.type_name, found.provides)


def used_coordinates(subgraph: Subgraph) -> frozenset[str]:
    """`Type.field` of everything selected in any field set, at any depth. What is selected on an
    interface is used in every implementation.
    """
    return frozenset(
        coordinate
        for use in field_set_uses(subgraph)
        for coordinate in coordinates(subgraph, use.on, use.fields.selections)
    )


def coordinates(subgraph: Subgraph, on: str, selections: SelectionSetNode) -> Iterator[str]:
    """`Type.field` of everything selected on a type, at any depth."""
    for name, node in select_all(subgraph, on, selections):
        type_ = subgraph.types.get(name)
        for known in {name, *(type_.possible_types if type_ else ())}:
            yield f"{known}.{node.name.value}"


def select_all(subgraph: Subgraph, on: str, selections: SelectionSetNode) -> Iterator[Selected]:
    """The fields selected at any depth, each with the type it is selected on."""
    for name, node in selected_on(selections, on):
        yield name, node
        type_ = subgraph.types.get(name)
        found = type_.fields.get(node.name.value) if type_ else None
        if found and node.selection_set:
            yield from select_all(subgraph, found.type_name, node.selection_set)
