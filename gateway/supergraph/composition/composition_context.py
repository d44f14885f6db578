"""All subgraphs of a composition, as the rules on their agreement see them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from graphql import (
    DefinitionNode,
    FieldDefinitionNode,
    InterfaceTypeDefinitionNode,
    ObjectTypeDefinitionNode,
)

from gateway.supergraph.composition.field_set_usage import coordinates
from gateway.supergraph.composition.merge_metadata import MetadataMerger
from gateway.supergraph.composition.subgraph_schema import SubgraphDefinition, TypeDefinition
from gateway.supergraph.errors import Problems
from gateway.supergraph.supergraph import Subgraph


@dataclass(frozen=True)
class CompositionContext:
    """All subgraphs: their definitions, the join facts of these, and what they merge to."""

    subgraphs: Mapping[str, SubgraphDefinition]
    join_facts: Mapping[str, Subgraph]
    merged: Mapping[str, DefinitionNode]
    inaccessible: set[str]
    metadata: MetadataMerger

    @cached_property
    def objects(self) -> Mapping[str, ObjectTypeDefinitionNode]:
        return {n: t for n, t in self.merged.items() if isinstance(t, ObjectTypeDefinitionNode)}

    @cached_property
    def interfaces(self) -> Mapping[str, tuple[str, ...]]:
        """The object types that implement each merged interface."""
        return {
            name: tuple(o for o, node in self.objects.items() if name in implemented(node))
            for name, node in self.merged.items()
            if isinstance(node, InterfaceTypeDefinitionNode)
        }

    @cached_property
    def interface_fields(self) -> frozenset[str]:
        """`Interface.field` of all that some subgraph has on an interface, not on an object."""
        return frozenset(
            f"{type_.name}.{found.name}"
            for subgraph in self.join_facts.values()
            for type_, found in subgraph.fields()
            if not type_.is_object
        )

    @cached_property
    def keys(self) -> Mapping[str, frozenset[str]]:
        """The coordinates of the fields in keys, by subgraph."""
        return {
            name: frozenset(
                coordinate
                for type_ in subgraph.types.values()
                for key in type_.keys
                for coordinate in coordinates(subgraph, type_.name, key.fields.selections)
            )
            for name, subgraph in self.join_facts.items()
        }

    def definitions_of(self, type_name: str) -> Mapping[str, TypeDefinition]:
        return {s.name: s.types[type_name] for s in self.subgraphs.values() if type_name in s.types}

    def field(self, coordinate: str) -> FieldDefinitionNode | None:
        type_name, _, field_name = coordinate.partition(".")
        for field in getattr(self.merged.get(type_name), "fields", None) or ():
            if field.name.value == field_name:
                return field  # type: ignore[no-any-return]
        return None


Rule: TypeAlias = Callable[[CompositionContext], Problems]


def implemented(node: ObjectTypeDefinitionNode) -> set[str]:
    return {interface.name.value for interface in node.interfaces or ()}
