"""Merge what the subgraphs say about each type into one definition."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from graphql import (
    ConstDirectiveNode,
    ConstValueNode,
    DefinitionNode,
    EnumValueDefinitionNode,
    FieldDefinitionNode,
    InputValueDefinitionNode,
    InterfaceTypeDefinitionNode,
    ListTypeNode,
    NamedTypeNode,
    NameNode,
    NonNullTypeNode,
    ObjectTypeDefinitionNode,
    TypeNode,
    print_ast,
)

from gateway.supergraph.composition.coordinates import walk
from gateway.supergraph.composition.federation_directives import Applied
from gateway.supergraph.composition.merge_metadata import MetadataMerger
from gateway.supergraph.composition.subgraph_schema import (
    NODES,
    MemberDefinition,
    SubgraphDefinition,
    TypeDefinition,
    is_interface_object,
    kind_name,
    named_nodes,
)
from gateway.supergraph.errors import CompositionProblem
from gateway.supergraph.supergraph import Subgraph
from gateway.supergraph.syntax import copy_node, named_type

DefinitionsBySubgraph: TypeAlias = Mapping[str, TypeDefinition]
"""One type's definitions by the subgraph that wrote them."""
MembersBySubgraph: TypeAlias = Mapping[str, MemberDefinition]
MERGED_DIRECTIVES = ("deprecated", "specifiedBy", "oneOf")


@dataclass(slots=True)
class TypeMerger:
    """Merges types one by one. On the way it gathers problems, inaccessible coordinates and
    metadata.
    """

    subgraphs: Sequence[SubgraphDefinition]
    join_facts: Mapping[str, Subgraph]
    problems: list[CompositionProblem] = field(default_factory=list)
    inaccessible: set[str] = field(default_factory=set)
    """Coordinates: `Type`, `Type.member`, `Type.field(argument:)`."""
    metadata: MetadataMerger = field(default_factory=MetadataMerger)
    _added: dict[str, dict[str, FieldDefinitionNode]] = field(default_factory=dict)
    """What interface objects add to each interface."""
    _supertypes: dict[str, set[str]] = field(default_factory=dict)
    _inputs: set[str] = field(default_factory=set)
    _outputs: set[str] = field(default_factory=set)

    def merge(self) -> list[DefinitionNode]:
        """Every type once, in alphabetical order; look at `problems` before using it."""
        self._collect_relations()
        names = sorted({name for subgraph in self.subgraphs for name in subgraph.types})
        merged = [definition for name in names if (definition := self._merge_type(name))]
        return [self._with_added_fields(definition) for definition in merged]

    def _collect_relations(self) -> None:
        """Collect each type's supertypes, and which types are used as input and as output."""
        for subgraph in self.subgraphs:
            for type_ in subgraph.types.values():
                for interface in type_.interfaces:
                    self._supertypes.setdefault(type_.name, set()).add(interface)
                for member in type_.union:
                    self._supertypes.setdefault(member, set()).add(type_.name)
                for _, part in (found for node in type_.nodes for found in walk(node, type_.name)):
                    if isinstance(part, InputValueDefinitionNode):
                        self._inputs.add(named_type(part.type))
                    elif isinstance(part, FieldDefinitionNode):
                        self._outputs.add(named_type(part.type))

    def _merge_type(self, name: str) -> DefinitionNode | None:
        owned = {s.name: s.types[name] for s in self.subgraphs if name in s.types}
        kinds = sorted({"interface" if is_interface_object(t) else t.kind for t in owned.values()})
        if len(kinds) > 1:
            says = ", ".join(f"{kind_name(type_.kind)} in {o}" for o, type_ in owned.items())
            self._refuse(owned, name, f"Its kinds differ: {says}.", "Make them the same kind.")
            return None
        for type_ in owned.values():
            self._note(name, type_.directives)
        merge_parts: Callable[[str, DefinitionsBySubgraph], dict[str, Any]] = {
            "object": self._merge_object,
            "interface": self._merge_interface,
            "input_object": self._merge_input,
            "enum": self._merge_enum,
            "union": self._merge_union,
            "scalar": lambda *_: {},
        }[kinds[0]]
        nodes = [node for type_ in owned.values() for node in type_.nodes]
        common = {"name": NameNode(value=name), **self._describe(nodes)}
        definition: DefinitionNode = NODES[kinds[0]](**common, **merge_parts(name, owned))
        return definition

    def _merge_object(self, name: str, owned: DefinitionsBySubgraph) -> dict[str, Any]:
        fields = (
            self._merge_field(f"{name}.{member}", owners)
            for member, owners in _members(owned).items()
        )
        interfaces = (i for type_ in owned.values() for i in type_.interfaces)
        return {"fields": tuple(fields), "interfaces": named_nodes(interfaces)}

    def _merge_interface(self, name: str, owned: DefinitionsBySubgraph) -> dict[str, Any]:
        parts = self._merge_object(name, owned)
        added = {
            member.node.name.value
            for type_ in owned.values()
            if is_interface_object(type_)
            for member in type_.members.values()
            if "external" not in member.directives
        }
        self._added[name] = {n.name.value: n for n in parts["fields"] if n.name.value in added}
        return parts

    def _with_added_fields(self, definition: DefinitionNode) -> DefinitionNode:
        """Give an implementation the fields that interface objects add to its interfaces."""
        if not isinstance(definition, ObjectTypeDefinitionNode | InterfaceTypeDefinitionNode):
            return definition
        fields = {node.name.value: node for node in definition.fields or ()}
        for interface in definition.interfaces or ():
            for name, node in self._added.get(interface.name.value, {}).items():
                if name not in fields:
                    fields[name] = node
                    self._copy_metadata(f"{interface.name.value}.{name}", definition, node)
        if len(fields) == len(definition.fields or ()):
            return definition
        return copy_node(definition, fields=tuple(fields.values()))

    def _copy_metadata(
        self,
        origin: str,
        definition: ObjectTypeDefinitionNode | InterfaceTypeDefinitionNode,
        node: FieldDefinitionNode,
    ) -> None:
        """The metadata of an interface's field holds for the one added to an implementation."""
        places = ["", *(f"({argument.name.value}:)" for argument in node.arguments or ())]
        for place in places:
            added = f"{definition.name.value}.{node.name.value}{place}"
            self.metadata.copy(f"{origin}{place}", added)
            if f"{origin}{place}" in self.inaccessible:
                self.inaccessible.add(added)

    def _merge_union(self, _: str, owned: DefinitionsBySubgraph) -> dict[str, Any]:
        return {"types": named_nodes(member for type_ in owned.values() for member in type_.union)}

    def _merge_field(self, coordinate: str, owners: MembersBySubgraph) -> FieldDefinitionNode:
        resolving = {o: m for o, m in owners.items() if self._resolves(o, coordinate)} or owners
        types = [_type_of(member) for member in resolving.values()]
        return FieldDefinitionNode(
            **self._member(coordinate, owners),
            type=self._widest(types) or self._refuse_types(coordinate, resolving),
            arguments=self._merge_inputs(
                coordinate + "({}:)",
                _by_name({owner: member.arguments for owner, member in resolving.items()}),
                set(resolving),
            ),
        )

    def _resolves(self, owner: str, coordinate: str) -> bool:
        """Whether the field's type counts here, or is only repeated from another subgraph."""
        type_name, _, name = coordinate.partition(".")
        return not self.join_facts[owner].types[type_name].fields[name].external

    def _merge_input(self, name: str, owned: DefinitionsBySubgraph) -> dict[str, Any]:
        fields = self._merge_inputs(name + ".{}", _members(owned), set(owned))
        if not fields:
            reason = "Its definitions have no field in common."
            self._refuse(owned, name, reason, "Share at least one field, or rename one of them.")
        return {"fields": fields}

    def _merge_inputs(
        self, coordinate: str, inputs: Mapping[str, MembersBySubgraph], owners: set[str]
    ) -> tuple[InputValueDefinitionNode, ...]:
        merged = (
            self._merge_input_value(coordinate.format(name), values, owners)
            for name, values in inputs.items()
        )
        return tuple(value for value in merged if value)

    def _merge_input_value(
        self, coordinate: str, values: MembersBySubgraph, owners: set[str]
    ) -> InputValueDefinitionNode | None:
        """An input all owners know. One that some don't know is left out, if it may be."""
        nodes = [_input_node(member) for member in values.values()]
        if missing := owners - values.keys():
            if any(isinstance(n.type, NonNullTypeNode) and not n.default_value for n in nodes):
                reason = f"It is required, but {_names(missing)} doesn't have it."
                self._refuse(values, coordinate, reason, "Add it there, or make it optional.")
            return None
        types = [node.type for node in nodes]
        return InputValueDefinitionNode(
            **self._member(coordinate, values),
            type=_strictest(types) or self._refuse_types(coordinate, values),
            default_value=self._merge_default(coordinate, values),
        )

    def _merge_default(self, coordinate: str, values: MembersBySubgraph) -> ConstValueNode | None:
        """The default of all; none if some have none, for they'd get no value at all."""
        defaults = {owner: _input_node(member).default_value for owner, member in values.items()}
        written = {owner: print_ast(value) for owner, value in defaults.items() if value}
        if len(set(written.values())) > 1:
            says = ", ".join(f"{value} in {owner}" for owner, value in written.items())
            reason = f"Its default values differ: {says}."
            self._refuse(written, coordinate, reason, "Use one default.")
        return next(iter(defaults.values())) if len(written) == len(defaults) else None

    def _merge_enum(self, name: str, owned: DefinitionsBySubgraph) -> dict[str, Any]:
        """Values that go in must be known to all owners; values that come out, to one of them."""
        members = _members(owned)
        missing = {
            value: owned.keys() - owners.keys()
            for value, owners in members.items()
            if owned.keys() - owners.keys()
            and not any("inaccessible" in member.directives for member in owners.values())
        }
        goes_in, comes_out = name in self._inputs, name in self._outputs
        if goes_in and comes_out and missing:
            says = ", ".join(f"{value} isn't in {_names(who)}" for value, who in missing.items())
            reason = f"It is used both as input and as output, but {says}."
            self._refuse(owned, name, reason, "Give it the same values everywhere.")
        names = members.keys() - missing.keys() if goes_in else members.keys()
        values = tuple(
            EnumValueDefinitionNode(**self._member(f"{name}.{value}", owners))
            for value, owners in members.items()
            if value in names
        )
        if not values:
            reason = "It is used as input, and its definitions have no value in common."
            self._refuse(owned, name, reason, "Share at least one value.")
        return {"values": values}

    def _member(self, coordinate: str, owners: MembersBySubgraph) -> dict[str, Any]:
        for member in owners.values():
            self._note(coordinate, member.directives)
        nodes = [member.node for member in owners.values()]
        return {"name": nodes[0].name, **self._describe(nodes)}

    def _describe(self, nodes: Sequence[Any]) -> dict[str, Any]:
        described = (node.description for node in nodes if getattr(node, "description", None))
        return {
            "description": next(described, None),
            "directives": self._merge_directives(nodes),
        }

    def _merge_directives(self, nodes: Iterable[Any]) -> tuple[ConstDirectiveNode, ...]:
        """GraphQL's own, of which the first counts; and what @composeDirective names, of which all
        different ones count if the directive is repeatable.
        """
        merged: dict[str, ConstDirectiveNode] = {}
        for node in nodes:
            for directive in node.directives or ():
                name = directive.name.value
                composed = next(
                    (s.composed[name] for s in self.subgraphs if name in s.composed), None
                )
                if composed and composed.definition.repeatable:
                    merged.setdefault(print_ast(directive), directive)
                elif composed or name in MERGED_DIRECTIVES:
                    merged.setdefault(name, directive)
        return tuple(merged.values())

    def _note(self, coordinate: str, directives: Applied) -> None:
        self.metadata.add(coordinate, directives)
        if "inaccessible" in directives:
            self.inaccessible.add(coordinate)

    def _widest(self, types: Sequence[TypeNode]) -> TypeNode | None:
        """The narrowest type that can hold a value of each of `types`."""
        if all(isinstance(type_, NonNullTypeNode) for type_ in types):
            inner = self._widest([_nullable(type_) for type_ in types])
            return _non_null(inner) if inner else None
        types = [_nullable(type_) for type_ in types]
        lists = [type_.type for type_ in types if isinstance(type_, ListTypeNode)]
        if len(lists) == len(types):
            inner = self._widest(lists)
            return ListTypeNode(type=inner) if inner else None
        if lists:
            return None
        names = dict.fromkeys(named_type(type_) for type_ in types)
        for name in names:
            if all(name in self._supertypes_of(other) for other in names):
                return named_nodes([name])[0]
        return None

    def _supertypes_of(self, name: str) -> set[str]:
        found, new = {name}, [name]
        while new:
            for supertype in self._supertypes.get(new.pop(), set()) - found:
                found.add(supertype)
                new.append(supertype)
        return found

    def _refuse_types(self, coordinate: str, owners: MembersBySubgraph) -> TypeNode:
        """One of the types, all the same, lest the place be missed where it is needed."""
        types = {owner: _type_of(member) for owner, member in owners.items()}
        says = ", ".join(f"{print_ast(type_)} in {owner}" for owner, type_ in types.items())
        self._refuse(owners, coordinate, f"Its types differ: {says}.", "Use one type.")
        return next(iter(types.values()))

    def _refuse(self, owners: Iterable[str], coordinate: str, reason: str, hint: str) -> None:
        self.problems.append(CompositionProblem(tuple(owners), coordinate, reason, hint))


def _strictest(types: Sequence[TypeNode]) -> TypeNode | None:
    """The type whose values each of `types` accepts."""
    bare = [_nullable(type_) for type_ in types]
    lists = [type_.type for type_ in bare if isinstance(type_, ListTypeNode)]
    merged: TypeNode | None
    if lists:
        inner = _strictest(lists) if len(lists) == len(bare) else None
        merged = ListTypeNode(type=inner) if inner else None
    else:
        merged = bare[0] if len({named_type(type_) for type_ in bare}) == 1 else None
    if merged is not None and any(isinstance(type_, NonNullTypeNode) for type_ in types):
        return _non_null(merged)
    return merged


def _members(owned: DefinitionsBySubgraph) -> dict[str, dict[str, MemberDefinition]]:
    return _by_name({owner: type_.members for owner, type_ in owned.items()})


def _by_name(
    owned: Mapping[str, Mapping[str, MemberDefinition]],
) -> dict[str, dict[str, MemberDefinition]]:
    by_name: dict[str, dict[str, MemberDefinition]] = {}
    for owner, members in owned.items():
        for name, member in members.items():
            by_name.setdefault(name, {})[owner] = member
    return by_name


def _input_node(member: MemberDefinition) -> InputValueDefinitionNode:
    assert isinstance(member.node, InputValueDefinitionNode)
    return member.node


def _type_of(member: MemberDefinition) -> TypeNode:
    assert isinstance(member.node, FieldDefinitionNode | InputValueDefinitionNode)
    return member.node.type


def _non_null(type_: TypeNode) -> NonNullTypeNode:
    assert isinstance(type_, NamedTypeNode | ListTypeNode)
    return NonNullTypeNode(type=type_)


def _nullable(type_: TypeNode) -> TypeNode:
    return type_.type if isinstance(type_, NonNullTypeNode) else type_


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
