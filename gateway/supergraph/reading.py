"""Read one subgraph's SDL: what it defines, with Federation's directives under their own names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from graphql import (
    ConstDirectiveNode,
    DirectiveDefinitionNode,
    DocumentNode,
    EnumValueDefinitionNode,
    FieldDefinitionNode,
    GraphQLError,
    InputValueDefinitionNode,
    NamedTypeNode,
    NameNode,
    ObjectTypeDefinitionNode,
    OperationType,
    SchemaDefinitionNode,
    SchemaExtensionNode,
    TypeDefinitionNode,
    TypeExtensionNode,
    Visitor,
    parse,
    visit,
)

from gateway.supergraph.errors import Problem
from gateway.supergraph.links import APOLLO, Arguments, Link, arguments_of, read_links
from gateway.supergraph.nodes import copied

FEDERATION = f"{APOLLO}federation"
LINK = f"{APOLLO}link"
VERSION = re.compile(r"v2\.(\d+)")
NEWEST = 11
MACHINERY_TYPES = {"_Any", "_Entity", "_Service", "_FieldSet"}
MACHINERY_FIELDS = {"_entities", "_service"}
STANDARD = {"deprecated", "specifiedBy", "oneOf", "include", "skip"}

SINCE = {
    "key": 0,
    "shareable": 0,
    "external": 0,
    "requires": 0,
    "provides": 0,
    "override": 0,
    "inaccessible": 0,
    "tag": 0,
    "extends": 0,
    "link": 0,
    "composeDirective": 1,
    "interfaceObject": 3,
    "authenticated": 5,
    "requiresScopes": 5,
    "policy": 6,
    "context": 8,
    "fromContext": 8,
    "cost": 9,
    "listSize": 9,
}
"""Federation's directives, and the version 2.x that brought each."""

NOT_YET = {
    "context": "Pass the value with @requires instead.",
    "fromContext": "Pass the value with @requires instead.",
}
FEDERATION_1 = {
    "key",
    "external",
    "requires",
    "provides",
    "extends",
    "tag",
    "inaccessible",
    "shareable",
    "override",
}

Applied: TypeAlias = Mapping[str, tuple[Arguments, ...]]
"""The directives of one definition, by Federation's own names."""
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
    node: TypeDefinitionNode | TypeExtensionNode
    directives: dict[str, tuple[Arguments, ...]] = field(default_factory=dict)
    members: dict[str, MemberDefinition] = field(default_factory=dict)
    interfaces: list[str] = field(default_factory=list)
    union: list[str] = field(default_factory=list)
    is_extension: bool = True

    def fold(self, node: TypeDefinitionNode | TypeExtensionNode, names: "DirectiveNames") -> None:
        """Add one definition or extension of the type."""
        if isinstance(node, TypeDefinitionNode):
            self.node, self.is_extension = node, False
        for name, uses in names.read(node.directives, self.name).items():
            self.directives[name] = self.directives.get(name, ()) + uses
        self.is_extension |= "extends" in self.directives
        for member in (*(getattr(node, "fields", None) or ()), *_enum_values(node)):
            self.members[member.name.value] = _member(
                f"{self.name}.{member.name.value}", member, names
            )
        self.interfaces += [named.name.value for named in getattr(node, "interfaces", None) or ()]
        self.union += [named.name.value for named in getattr(node, "types", None) or ()]


def is_interface_object(type_: TypeDefinition) -> bool:
    """Whether an object stands for every implementation of an interface of other subgraphs."""
    return "interfaceObject" in type_.directives


@dataclass(slots=True)
class SubgraphDefinition:
    """One subgraph, read. `is_federation_1` says that nothing had to be marked @shareable."""

    name: str
    is_federation_1: bool
    types: dict[str, TypeDefinition]


class DirectiveNames:
    """Translates the names a subgraph gives to directives into Federation's own.

    Every use is checked here, since a directive that isn't understood must never be ignored
    silently: it may be what guards a field.
    """

    def __init__(self, subgraph: str, document: DocumentNode, problems: list[Problem]) -> None:
        self._subgraph = subgraph
        self._problems = problems
        self._reported: set[str] = set()
        self._local = {
            node.name.value
            for node in document.definitions
            if isinstance(node, DirectiveDefinitionNode)
        }
        self._names = {"link": "link"}
        self._namespaces: dict[str, bool] = {}
        """The namespace of each link, and whether it is Federation's."""
        self._version = NEWEST
        self.is_federation_1 = True
        self._machinery_types = set(MACHINERY_TYPES)
        for link in read_links(document):
            self._read_link(link)
        if self.is_federation_1:
            self._names |= {name: name for name in FEDERATION_1}

    def is_machinery(self, type_name: str) -> bool:
        """Whether a type belongs to a specification, not to the graph."""
        namespace, _, rest = type_name.partition("__")
        is_spec = namespace in {"federation", "link", *self._namespaces}
        return type_name in self._machinery_types or bool(rest and is_spec)

    def _read_link(self, link: Link) -> None:
        if link.spec == LINK:
            return
        is_federation = link.spec == FEDERATION
        self._namespaces[link.namespace] = is_federation
        if is_federation:
            self.is_federation_1 = False
            self._read_version(link)
        elif link.purpose:
            reason = f"It links {link.url!r} for {link.purpose}, which this gateway doesn't know."
            self._report("", reason, "Remove the link.")
        for alias, name in link.imports.items():
            if not is_federation:
                self._local.add(alias.removeprefix("@"))
            elif name.startswith("@"):
                self._import(alias[1:], name[1:])
            else:
                self._machinery_types.add(alias)

    def _read_version(self, link: Link) -> None:
        found = VERSION.fullmatch(link.version)
        if found and int(found[1]) <= NEWEST:
            self._version = int(found[1])
        else:
            hint = f"Link one of v2.0 to v2.{NEWEST}."
            self._report("", f"It links Federation {link.version!r}.", hint)

    def _import(self, alias: str, name: str) -> None:
        self._names[alias] = name
        if name not in SINCE:
            self._report("", f"It imports @{name}, which Federation hasn't.", "Don't import it.")
        elif SINCE[name] > self._version:
            reason = f"It imports @{name}, but links Federation v2.{self._version}."
            self._report("", reason, f"Link v2.{SINCE[name]} or later.")

    def read(self, nodes: tuple[ConstDirectiveNode, ...] | None, coordinate: str) -> Applied:
        """The directives in `nodes` by Federation's names; problems are reported."""
        applied: dict[str, tuple[Arguments, ...]] = {}
        for node in nodes or ():
            name = self._canonical(node.name.value, coordinate)
            if name:
                applied[name] = (*applied.get(name, ()), arguments_of(node))
        return applied

    def _canonical(self, used: str, coordinate: str) -> str | None:
        name = self._names.get(used)
        namespace, _, rest = used.partition("__")
        if name is None and rest and namespace in self._namespaces:
            name = rest if self._namespaces[namespace] else None
            if name is None:
                return None
        if name in NOT_YET:
            self._report(coordinate, f"@{name} is not supported yet.", NOT_YET[name])
        elif name in SINCE or used in STANDARD:
            return name or used
        elif name is not None:
            self._report(coordinate, f"Federation has no @{name}.", "Remove it.")
        elif used in SINCE and used not in self._local:
            self._report(
                coordinate, f"@{used} is not imported.", f'Add "@{used}" to the import of @link.'
            )
        elif used not in self._local:
            self._report(coordinate, f"@{used} is not defined.", "Define it, or remove it.")
        return None

    def _report(self, coordinate: str, reason: str, hint: str) -> None:
        if coordinate + reason not in self._reported:
            self._reported.add(coordinate + reason)
            self._problems.append(Problem((self._subgraph,), coordinate, reason, hint))


def read_subgraph(name: str, sdl: str, problems: list[Problem]) -> SubgraphDefinition | None:
    """The types of one subgraph, without Federation's machinery; None if it can't be parsed."""
    try:
        document = with_standard_root_names(parse(sdl, no_location=False))
    except GraphQLError as error:
        place = error.locations[0] if error.locations else None
        where = f" (line {place.line}, column {place.column})" if place else ""
        problems.append(Problem((name,), "", f"{error.message}{where}", "Mend the SDL there."))
        return None
    names = DirectiveNames(name, document, problems)
    types: dict[str, TypeDefinition] = {}
    for node in document.definitions:
        if not isinstance(node, TypeDefinitionNode | TypeExtensionNode):
            continue
        type_name = node.name.value
        if names.is_machinery(type_name):
            continue
        kind = node.kind.partition("_type_")[0]
        found = types.setdefault(type_name, TypeDefinition(type_name, kind, node))
        if found.kind != kind:
            reason = f"It is both {found.kind} and {kind}."
            problems.append(Problem((name,), type_name, reason, "Give one of them another name."))
            continue
        found.fold(node, names)
    _remove_machinery_fields(types)
    return SubgraphDefinition(name, names.is_federation_1, types)


def _remove_machinery_fields(types: dict[str, TypeDefinition]) -> None:
    if query := types.get("Query"):
        for name in MACHINERY_FIELDS:
            query.members.pop(name, None)
        if not query.members:
            del types["Query"]


def _member(coordinate: str, node: Definition, names: DirectiveNames) -> MemberDefinition:
    arguments = {
        argument.name.value: _member(f"{coordinate}({argument.name.value}:)", argument, names)
        for argument in getattr(node, "arguments", None) or ()
    }
    return MemberDefinition(node, names.read(node.directives, coordinate), arguments)


def _enum_values(node: object) -> tuple[EnumValueDefinitionNode, ...]:
    return getattr(node, "values", None) or ()


def with_standard_root_names(document: DocumentNode) -> DocumentNode:
    """Call the root types Query, Mutation and Subscription, whatever `schema { … }` says."""
    standard = {
        OperationType.QUERY: "Query",
        OperationType.MUTATION: "Mutation",
        OperationType.SUBSCRIPTION: "Subscription",
    }
    renames = {
        root.type.name.value: standard[root.operation]
        for node in document.definitions
        if isinstance(node, SchemaDefinitionNode | SchemaExtensionNode)
        for root in node.operation_types or ()
        if root.type.name.value != standard[root.operation]
    }
    return visit(document, _Renamer(renames)) if renames else document


class _Renamer(Visitor):
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
        return copied(node, name=NameNode(value=new)) if new else None
