"""Read one subgraph's SDL: what it defines, with Federation's directives under their own names."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from graphql import (
    DirectiveLocation,
    DocumentNode,
    EnumTypeDefinitionNode,
    EnumValueDefinitionNode,
    FieldDefinitionNode,
    GraphQLError,
    InputObjectTypeDefinitionNode,
    InputValueDefinitionNode,
    InterfaceTypeDefinitionNode,
    NamedTypeNode,
    NameNode,
    ObjectTypeDefinitionNode,
    ObjectTypeExtensionNode,
    ScalarTypeDefinitionNode,
    SchemaDefinitionNode,
    SchemaExtensionNode,
    TypeDefinitionNode,
    TypeExtensionNode,
    UnionTypeDefinitionNode,
    Visitor,
    parse,
    visit,
)

from gateway.supergraph.composition.composed_directives import (
    ComposedDirective,
    read_composed_directives,
)
from gateway.supergraph.composition.federation_directives import Applied, DirectiveNames
from gateway.supergraph.composition.spec_links import LINKING, Arguments, schema_directives
from gateway.supergraph.errors import CompositionProblem
from gateway.supergraph.syntax import ROOTS, copy_node

MACHINERY_FIELDS = {"_entities", "_service"}
MEMBERS = {
    "object": DirectiveLocation.FIELD_DEFINITION,
    "interface": DirectiveLocation.FIELD_DEFINITION,
    "input_object": DirectiveLocation.INPUT_FIELD_DEFINITION,
    "enum": DirectiveLocation.ENUM_VALUE,
}
NODES: Mapping[str, type[Any]] = {
    "object": ObjectTypeDefinitionNode,
    "interface": InterfaceTypeDefinitionNode,
    "input_object": InputObjectTypeDefinitionNode,
    "enum": EnumTypeDefinitionNode,
    "union": UnionTypeDefinitionNode,
    "scalar": ScalarTypeDefinitionNode,
}
OBJECTS = (ObjectTypeDefinitionNode, ObjectTypeExtensionNode)

Definition: TypeAlias = FieldDefinitionNode | InputValueDefinitionNode | EnumValueDefinitionNode


@dataclass(slots=True)
class MemberDefinition:
    """A field, argument, input field or enum value."""

    node: Definition
    directives: Applied
    arguments: "Mapping[str, MemberDefinition]" = field(default_factory=dict)


@dataclass(slots=True)
class TypeDefinition:
    """A type with all its extensions in this SDL folded in."""

    name: str
    kind: str
    directives: dict[str, tuple[Arguments, ...]] = field(default_factory=dict)
    members: dict[str, MemberDefinition] = field(default_factory=dict)
    interfaces: list[str] = field(default_factory=list)
    union: list[str] = field(default_factory=list)
    nodes: list[TypeDefinitionNode | TypeExtensionNode] = field(default_factory=list)
    is_extension: bool = True
    has_base: bool = False
    """Whether it was defined here, not only extended."""

    def fold(self, node: TypeDefinitionNode | TypeExtensionNode, names: DirectiveNames) -> None:
        if isinstance(node, TypeDefinitionNode):
            if self.has_base:
                names.report(self.name, "It is defined twice.", "Define it once, or extend it.")
            self.is_extension, self.has_base = False, True
        self.nodes.append(node)
        place = DirectiveLocation[self.kind.upper()]
        for name, uses in names.read(node.directives, self.name, place).items():
            self.directives[name] = self.directives.get(name, ()) + uses
        self.is_extension |= "extends" in self.directives
        for key in ("fields", "values"):
            for member in getattr(node, key, None) or ():
                self._add(member, names)
        self.interfaces += [named.name.value for named in getattr(node, "interfaces", None) or ()]
        self.union += [named.name.value for named in getattr(node, "types", None) or ()]

    def _add(self, member: Definition, names: DirectiveNames) -> None:
        coordinate = f"{self.name}.{member.name.value}"
        if member.name.value in self.members:
            names.report(coordinate, "It is defined twice.", "Define it once.")
        self.members[member.name.value] = _member(coordinate, member, MEMBERS[self.kind], names)


def named_nodes(names: Iterable[str]) -> tuple[NamedTypeNode, ...]:
    return tuple(NamedTypeNode(name=NameNode(value=name)) for name in dict.fromkeys(names))


def kind_name(kind: str) -> str:
    return kind.replace("_", " ")


def is_interface_object(type_: TypeDefinition) -> bool:
    """Whether an object stands for every implementation of an interface of other subgraphs."""
    return type_.kind == "object" and "interfaceObject" in type_.directives


@dataclass(slots=True)
class SubgraphDefinition:
    """One subgraph, read. `is_federation_1` says that nothing had to be marked @shareable."""

    name: str
    is_federation_1: bool
    types: dict[str, TypeDefinition]
    composed: Mapping[str, ComposedDirective] = field(default_factory=dict)
    """The directives of its own that the supergraph shall keep."""

    def members(self, *kinds: str) -> Iterator[tuple[str, TypeDefinition, MemberDefinition]]:
        """The members of all types of these kinds, with their coordinates."""
        for type_ in self.types.values():
            for name, member in type_.members.items() if type_.kind in kinds else ():
                yield f"{type_.name}.{name}", type_, member

    def member(self, coordinate: str) -> MemberDefinition | None:
        type_name, _, name = coordinate.partition(".")
        type_ = self.types.get(type_name)
        return type_.members.get(name) if type_ else None


def owners(subgraphs: Mapping[str, SubgraphDefinition], coordinate: str) -> list[str]:
    """Those that have the field or value a coordinate is about; else its type; else all."""
    type_name = coordinate.partition(".")[0]
    member = coordinate.partition("(")[0]
    having = [name for name, subgraph in subgraphs.items() if subgraph.member(member)]
    knowing = [name for name, subgraph in subgraphs.items() if type_name in subgraph.types]
    return having or knowing or list(subgraphs)


def read_subgraph(
    name: str, sdl: str, problems: list[CompositionProblem]
) -> SubgraphDefinition | None:
    """The types of one subgraph, without Federation's machinery; None if it can't be parsed."""
    try:
        document = parse(sdl, no_location=False)
    except GraphQLError as error:
        problems.append(
            CompositionProblem((name,), "", syntax_problem(error), "Mend the SDL there.")
        )
        return None
    names = DirectiveNames(name, document, problems)
    marks = [d for d in schema_directives(document) if d.name.value not in LINKING]
    names.read(marks, "schema", DirectiveLocation.SCHEMA)
    _check_roots(document, names)
    document = with_standard_root_names(document)
    types: dict[str, TypeDefinition] = {}
    for node in document.definitions:
        if not isinstance(node, TypeDefinitionNode | TypeExtensionNode):
            continue
        type_name = node.name.value
        if names.is_machinery(type_name):
            continue
        kind = node.kind.partition("_type_")[0]
        found = types.setdefault(type_name, TypeDefinition(type_name, kind))
        if found.kind != kind:
            reason = f"It is both {kind_name(found.kind)} and {kind_name(kind)}."
            problems.append(
                CompositionProblem((name,), type_name, reason, "Give one of them another name.")
            )
            continue
        found.fold(node, names)
    _remove_machinery_fields(types)
    return SubgraphDefinition(
        name, names.is_federation_1, types, read_composed_directives(document, names)
    )


def syntax_problem(error: GraphQLError) -> str:
    places = error.locations or ()
    where = "".join(f" (line {place.line}, column {place.column})" for place in places)
    return f"{error.message.rstrip('.')}{where}."


def _remove_machinery_fields(types: dict[str, TypeDefinition]) -> None:
    if query := types.get("Query"):
        for name in MACHINERY_FIELDS:
            query.members.pop(name, None)
        if not query.members:
            del types["Query"]


def _member(
    coordinate: str, node: Definition, place: DirectiveLocation, names: DirectiveNames
) -> MemberDefinition:
    arguments: dict[str, MemberDefinition] = {}
    for argument in getattr(node, "arguments", None) or ():
        name = argument.name.value
        inner = f"{coordinate}({name}:)"
        if name in arguments:
            names.report(inner, "It is defined twice.", "Define it once.")
        arguments[name] = _member(inner, argument, DirectiveLocation.ARGUMENT_DEFINITION, names)
    return MemberDefinition(node, names.read(node.directives, coordinate, place), arguments)


def with_standard_root_names(document: DocumentNode) -> DocumentNode:
    """Call the root types Query, Mutation and Subscription, whatever `schema { … }` says."""
    renames = {name: standard for name, standard in _roots(document) if name != standard}
    return visit(document, _RootRenamer(renames)) if renames else document


def _roots(document: DocumentNode) -> Iterator[tuple[str, str]]:
    for node in document.definitions:
        if isinstance(node, SchemaDefinitionNode | SchemaExtensionNode):
            for root in node.operation_types or ():
                yield root.type.name.value, ROOTS[root.operation]


def _check_roots(document: DocumentNode, names: DirectiveNames) -> None:
    objects = {n.name.value for n in document.definitions if isinstance(n, OBJECTS)}
    defined = {n.name.value for n in document.definitions if isinstance(n, TypeDefinitionNode)}
    for name, standard in _roots(document):
        if name not in objects:
            reason = f"`schema` names {name!r} for {standard}, which is no object type here."
            names.report(name, reason, "Define it, or leave it out of `schema`.")
        if name != standard and standard in defined:
            reason = f"It is no root type, for `schema` names {name!r} instead."
            names.report(standard, reason, "Give it another name.")


class _RootRenamer(Visitor):
    def __init__(self, renames: Mapping[str, str]) -> None:
        super().__init__()
        self._renames = renames

    def enter_named_type(self, node: NamedTypeNode, *_: Any) -> NamedTypeNode | None:
        new = self._renames.get(node.name.value)
        return NamedTypeNode(name=NameNode(value=new)) if new else None

    def leave_object_type_definition(
        self, node: ObjectTypeDefinitionNode, *_: Any
    ) -> ObjectTypeDefinitionNode | None:
        new = self._renames.get(node.name.value)
        return copy_node(node, name=NameNode(value=new)) if new else None
