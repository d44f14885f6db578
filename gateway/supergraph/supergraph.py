"""The supergraph: which subgraph resolves which field, and by which keys it can be entered.

The planner knows nothing but these facts, so it does not matter whether they were composed
from subgraph SDL or read from a supergraph somebody else composed.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from graphql import (
    FieldNode,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationType,
    SelectionSetNode,
    TypeNode,
    is_abstract_type,
    is_interface_type,
    is_list_type,
    is_object_type,
    is_wrapping_type,
    print_ast,
)
from graphql.language import InlineFragmentNode

from gateway.supergraph.field_sets import FieldSet, selected_fields
from gateway.supergraph.override_labels import OverrideLabel
from gateway.supergraph.schema_metadata import SchemaMetadata
from gateway.supergraph.syntax import ROOTS, named_type

QUERY = ROOTS[OperationType.QUERY]
MAX_LABEL_SETS = 64
"""For how many combinations of active labels a supergraph is cached."""


@dataclass(frozen=True, slots=True)
class Key:
    """Fields by which an entity is found again in this subgraph, if it is `resolvable`."""

    fields: FieldSet
    resolvable: bool = True


@dataclass(frozen=True, slots=True)
class JoinField:
    """A field as one subgraph has it."""

    name: str
    type: TypeNode
    external: bool = False
    overridden: bool = False
    requires: FieldSet | None = None
    provides: FieldSet | None = None
    label: OverrideLabel | None = None

    @property
    def type_name(self) -> str:
        return named_type(self.type)

    def signature(self) -> Hashable:
        """Equal for fields that can be planned alike in this subgraph."""
        type_ = print_ast(self.type)
        return (type_, self.external, self.overridden, self.requires, self.provides, self.label)


@dataclass(frozen=True, slots=True)
class JoinType:
    """A composite type as one subgraph has it."""

    name: str
    fields: Mapping[str, JoinField]
    keys: tuple[Key, ...] = ()
    possible_types: frozenset[str] = frozenset()
    """Object types a value may have here: the type itself, implementations or members."""
    is_object: bool = True
    is_interface_object: bool = False
    """@interfaceObject: an object here, standing for every implementation of an interface."""

    @property
    def interface_object(self) -> str | None:
        """Its name, if it is an interface object."""
        return self.name if self.is_interface_object else None

    @property
    def entry_keys(self) -> list[FieldSet] | None:
        """The keys by which its objects can be entered: none at all, or an empty list for the query
        root, which takes none.
        """
        keys = [key.fields for key in self.keys if key.resolvable]
        return keys if keys or self.name == QUERY else None

    def field_sets(self) -> Iterator[FieldSet]:
        yield from (key.fields for key in self.keys)
        for found in self.fields.values():
            yield from (s for s in (found.requires, found.provides) if s)

    def with_labels(self, labels: frozenset[str]) -> "JoinType":
        """The type while these labels are active: what has moved away is overridden."""
        moved = {
            found.name: replace(found, overridden=True)
            for found in self.fields.values()
            if found.label and not found.label.holds(labels)
        }
        return replace(self, fields={**self.fields, **moved}) if moved else self


@dataclass(frozen=True, slots=True, eq=False)
class Subgraph:
    """One service's part of the graph."""

    name: str
    types: Mapping[str, JoinType]

    def fields(self) -> Iterator[tuple[JoinType, JoinField]]:
        """Every field, with the type it is on."""
        for type_ in self.types.values():
            for found in type_.fields.values():
                yield type_, found

    def local_types(self, names: "TypeNames") -> Iterator[JoinType]:
        """The types that objects of a type have in the subgraph: that type itself, or else the
        interface objects that stand for it.
        """
        if known := self.types.get(names.name):
            yield known
            return
        for name in sorted(names.all):
            if (found := self.types.get(name)) and found.is_interface_object:
                yield found

    def views(self, names: "TypeNames") -> Iterator["SubgraphView"]:
        """Its views of objects of a type, as a key may lead to them."""
        for local_type in self.local_types(names):
            yield SubgraphView(self, interface_object=local_type.interface_object)

    def find_local_type(self, type_name: str, names: "TypeNames") -> JoinType | None:
        """The local type that objects of `names` have where a value is of type `type_name`; None
        if there are never any.
        """
        returned = self.types.get(type_name)
        if returned is None:
            return None
        local = {returned.name, *returned.possible_types}
        return next(
            (local_type for local_type in self.local_types(names) if local_type.name in local), None
        )

    def with_labels(self, labels: frozenset[str]) -> "Subgraph":
        return replace(
            self, types={n: type_.with_labels(labels) for n, type_ in self.types.items()}
        )


@dataclass(frozen=True, slots=True)
class SubgraphView:
    """An object as one subgraph has it: with the fields that @provides adds, and as an interface
    object, if its type is not known there.
    """

    subgraph: Subgraph
    provides: tuple[FieldSet, ...] = ()
    interface_object: str | None = None

    def field(self, names: "TypeNames", field_name: str) -> JoinField | None:
        """The field, if this subgraph resolves it on the object (whatever it @requires)."""
        type_ = self.subgraph.types.get(self.interface_object or names.name)
        found = type_.fields.get(field_name) if type_ else None
        if found is None or not (found.external or found.overridden):
            return found
        return found if any(self._provided(names, field_name)) else None

    def follow(
        self, names: "TypeNames", found: JoinField, below: "TypeNames"
    ) -> "SubgraphView | None":
        """The view of objects of a type that `found` returns; None if it never returns any."""
        local_type = self.subgraph.find_local_type(found.type_name, below)
        if local_type is None:
            return None
        inner = tuple(
            FieldSet.of(field.selection_set)
            for field in self._provided(names, found.name)
            if field.selection_set
        )
        own = (found.provides,) if found.provides else ()
        return SubgraphView(self.subgraph, own + inner, local_type.interface_object)

    def local_type(self, names: "TypeNames") -> JoinType:
        """The type that the objects have in this subgraph, which must know them."""
        return self.subgraph.types[self.interface_object or names.name]

    def _provided(self, names: "TypeNames", field_name: str) -> Iterator[FieldNode]:
        for fields in self.provides:
            for selected in selected_fields(fields.selections, names.all):
                if selected.name.value == field_name:
                    yield selected


@dataclass(frozen=True, slots=True)
class TypeNames:
    """A type and, in `all`, every type condition that holds for its objects."""

    name: str
    all: frozenset[str]


@dataclass(frozen=True, eq=False)
class Supergraph:
    """The composed graph. `schema` is what clients see; `full_schema` also holds what is
    @inaccessible, which plans may still need as keys.
    """

    schema: GraphQLSchema
    full_schema: GraphQLSchema
    sdl: str
    subgraphs: Mapping[str, Subgraph]
    metadata: SchemaMetadata = field(default_factory=SchemaMetadata)
    urls: Mapping[str, str] = field(default_factory=dict)
    """Where subgraphs are, as far as a supergraph that was read says so."""
    _signatures: dict[tuple[str, str], Hashable] = field(default_factory=dict, repr=False)
    _types: dict[tuple[str, str], Hashable] = field(default_factory=dict, repr=False)
    _by_labels: dict[frozenset[str], "Supergraph"] = field(default_factory=dict, repr=False)

    @cached_property
    def fields_with_requires(self) -> frozenset[str]:
        return frozenset(found.name for found in self._join_fields() if found.requires)

    @cached_property
    def has_interface_objects(self) -> bool:
        """Whether any subgraph may return objects without knowing their types."""
        types = (t for subgraph in self.subgraphs.values() for t in subgraph.types.values())
        return any(type_.is_interface_object for type_ in types)

    @cached_property
    def labels(self) -> frozenset[str]:
        return frozenset(found.label.name for found in self._join_fields() if found.label)

    def _join_fields(self) -> Iterator[JoinField]:
        return (found for subgraph in self.subgraphs.values() for _, found in subgraph.fields())

    def with_labels(self, labels: frozenset[str]) -> "Supergraph":
        """The supergraph while exactly these labels are active."""
        if not self.labels:
            return self
        active = labels & self.labels
        if active not in self._by_labels:
            if len(self._by_labels) == MAX_LABEL_SETS:
                self._by_labels.clear()
            subgraphs = {name: found.with_labels(active) for name, found in self.subgraphs.items()}
            self._by_labels[active] = replace(
                self, subgraphs=subgraphs, _signatures={}, _types={}, _by_labels={}
            )
        return self._by_labels[active]

    @cached_property
    def possible_types(self) -> Mapping[str, tuple[str, ...]]:
        """The object types a value of a composite type may have, in schema order. An interface
        that nothing implements stands for itself, for subgraphs may know it as an object.
        """
        possible_types = {}
        for type_ in self.full_schema.type_map.values():
            if is_abstract_type(type_):
                members = self.full_schema.get_possible_types(type_)
                possible_types[type_.name] = tuple(m.name for m in members) or (type_.name,)
            elif is_object_type(type_):
                possible_types[type_.name] = (type_.name,)
        return possible_types

    @cached_property
    def names(self) -> Mapping[str, TypeNames]:
        """For each object type, the type conditions that hold for it; for each interface, those
        that hold for all its implementations.
        """
        holds: dict[str, set[str]] = {}
        for condition, objects in self.possible_types.items():
            for name in objects:
                holds.setdefault(name, {name}).add(condition)
        for type_ in self.full_schema.type_map.values():
            if is_interface_type(type_):
                implementations = (holds[name] for name in self.possible_types[type_.name])
                holds[type_.name] = set.intersection(*implementations) | {type_.name}
        return {name: TypeNames(name, frozenset(all_)) for name, all_ in holds.items()}

    def is_tagged(self, type_name: str, field_name: str, tag: str) -> bool:
        """Whether a field, or its type, has a @tag, maybe by an interface the type implements."""
        tags = self.metadata.tags
        return any(
            tag in tags.get(place, ())
            for name in self.names[type_name].all
            for place in (f"{name}.{field_name}", name)
        )

    def field_type(self, type_name: str, field_name: str) -> GraphQLOutputType | None:
        """The type that a field of an object or interface returns, if there is such a field."""
        type_ = self.full_schema.type_map[type_name]
        assert isinstance(type_, GraphQLObjectType | GraphQLInterfaceType)
        field = type_.fields.get(field_name)
        return field.type if field else None

    def list_depth(self, type_name: str, field_name: str) -> int:
        """How many lists a field returns within each other."""
        returned: Any = self.field_type(type_name, field_name)
        depth = 0
        while is_wrapping_type(returned):
            depth += is_list_type(returned)
            returned = returned.of_type
        return depth

    def field_signature(self, type_name: str, field_name: str) -> Hashable:
        """Equal for fields that every subgraph resolves, or does not, in the same way."""
        key = (type_name, field_name)
        if key not in self._signatures:
            self._signatures[key] = tuple(
                found.signature() if (found := self._field(subgraph, *key)) else None
                for subgraph in self.subgraphs.values()
            )
        return self._signatures[key]

    def field_types(self, type_name: str, field_name: str) -> Hashable:
        """Equal for fields that can be selected under one name in any subgraph: their types are
        the same everywhere, or differ in the same way.
        """
        key = (type_name, field_name)
        if key not in self._types:
            found = [self._field(subgraph, *key) for subgraph in self.subgraphs.values()]
            types = tuple(print_ast(field.type) if field else None for field in found)
            distinct = set(types) - {None}
            self._types[key] = types if len(distinct) > 1 else distinct.pop() if distinct else None
        return self._types[key]

    def type_signature(self, type_name: str) -> Hashable:
        """Equal for object types whose values can be found and entered in the same way."""
        return self._type_signatures[type_name]

    @cached_property
    def _type_signatures(self) -> Mapping[str, Hashable]:
        return {name: self._sign_type(name) for name in self.names}

    @cached_property
    def _field_set_names(self) -> tuple[frozenset[str], frozenset[str]]:
        """Names of the fields, and of the type conditions, in any field set."""
        fields: set[str] = set()
        conditions: set[str] = set()
        for subgraph in self.subgraphs.values():
            for type_ in subgraph.types.values():
                for field_set in type_.field_sets():
                    _collect_names(field_set.selections, fields, conditions)
        return frozenset(fields), frozenset(conditions)

    def _sign_type(self, name: str) -> Hashable:
        inputs, conditions = self._field_set_names
        signed: list[Hashable] = [
            conditions & self.names[name].all,
            frozenset((n, self.field_signature(name, n)) for n in inputs),
        ]
        for subgraph in self.subgraphs.values():
            within = frozenset(t.name for t in subgraph.types.values() if name in t.possible_types)
            local_types = tuple(
                ("" if local_type.name == name else local_type.name, local_type.keys)
                for local_type in subgraph.local_types(self.names[name])
            )
            signed.append((within - {name}, local_types))
        return tuple(signed)

    @staticmethod
    def _field(subgraph: Subgraph, type_name: str, field_name: str) -> JoinField | None:
        found = subgraph.types.get(type_name)
        return found.fields.get(field_name) if found else None


def _collect_names(selections: SelectionSetNode, fields: set[str], conditions: set[str]) -> None:
    for selection in selections.selections:
        if isinstance(selection, FieldNode):
            fields.add(selection.name.value)
        elif isinstance(selection, InlineFragmentNode) and selection.type_condition:
            conditions.add(selection.type_condition.name.value)
        if isinstance(selection, FieldNode | InlineFragmentNode) and selection.selection_set:
            _collect_names(selection.selection_set, fields, conditions)
