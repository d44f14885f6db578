"""All subgraphs beside each other: what they have to agree on is asked of this."""

from collections.abc import Callable, Iterable, Iterator, Mapping
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
from gateway.supergraph.composition.merge_metadata import Marker
from gateway.supergraph.composition.subgraph_schema import SubgraphDefinition, TypeDefinition
from gateway.supergraph.errors import Problem
from gateway.supergraph.supergraph import Subgraph


@dataclass(frozen=True)
class Together:
    """All subgraphs: as they were read, the facts derived from them, and what they merge to."""

    subgraphs: Mapping[str, SubgraphDefinition]
    joined: Mapping[str, Subgraph]
    merged: Mapping[str, DefinitionNode]
    hidden: set[str]
    marker: Marker

    @cached_property
    def objects(self) -> Mapping[str, ObjectTypeDefinitionNode]:
        """The merged object types."""
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
            f"{type_.name}.{name}"
            for subgraph in self.joined.values()
            for type_ in subgraph.types.values()
            if not type_.is_object
            for name in type_.fields
        )

    @cached_property
    def keys(self) -> Mapping[str, frozenset[str]]:
        """The fields that keys are made of, by subgraph."""
        return {
            name: frozenset(
                coordinate
                for type_ in subgraph.types.values()
                for key in type_.keys
                for coordinate in coordinates(subgraph, type_.name, key.fields.selections)
            )
            for name, subgraph in self.joined.items()
        }

    def owned(self, type_name: str) -> Mapping[str, TypeDefinition]:
        """The type as each subgraph defines it that has it."""
        return {s.name: s.types[type_name] for s in self.subgraphs.values() if type_name in s.types}

    def field(self, coordinate: str) -> FieldDefinitionNode | None:
        """The merged field at `Type.field`."""
        type_name, _, field_name = coordinate.partition(".")
        for field in getattr(self.merged.get(type_name), "fields", None) or ():
            if field.name.value == field_name:
                return field  # type: ignore[no-any-return]
        return None


Rule: TypeAlias = Callable[[Together], Iterator[Problem]]


def implemented(node: ObjectTypeDefinitionNode) -> set[str]:
    """The interfaces of a merged type."""
    return {interface.name.value for interface in node.interfaces or ()}


def problem(subgraphs: Iterable[str], coordinate: str, reason: str, hint: str) -> Problem:
    """Something wrong between these subgraphs, each of which is named once."""
    return Problem(tuple(dict.fromkeys(subgraphs)), coordinate, reason, hint)
