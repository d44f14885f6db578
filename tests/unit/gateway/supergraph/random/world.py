"""A federated graph with data: who resolves what, what is written in whose SDL, and every value.

An object is known by its type and a number. From these follow all its fields, so that every
service, and the schema without services, knows the same world without sharing any state.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from zlib import crc32

from graphql import FieldNode, SelectionSetNode, value_from_ast_untyped

from gateway.supergraph.field_sets import FieldSet, selected_fields

JSON = dict[str, Any]
EACH = 3
"""How many objects there are of each entity type."""
ROOTS = ("Query", "Mutation")
LEAVES: Mapping[str, Callable[[int], Any]] = {
    "String": lambda at: f"text {at % 97}",
    "Int": lambda at: at % 1000 - 500,
    "Float": lambda at: at % 100 / 4,
    "Boolean": lambda at: at % 2 == 0,
    "ID": lambda at: f"id-{at % 97}",
    "Kind": lambda at: ("GOOD", "BAD", "UGLY")[at % 3],
    "Blob": lambda at: {"a": at % 7, "b": [None, {"id": at % 5}]},
}
INPUTS = """
enum Kind { GOOD BAD UGLY }
scalar Blob
input Filter { kind: Kind = BAD, least: Int, any: [String!], not: Filter }
"""


class FailedError(Exception):
    """A field fails, as some do in any world."""


def chance(*of: object) -> int:
    """A number that is always the same for the same things."""
    return crc32(repr(of).encode())


def same(arguments: Mapping[str, Any]) -> str:
    """Arguments as text, the same in whatever order they were given."""
    return json.dumps(arguments, sort_keys=True)


@cache
def selected(text: str) -> SelectionSetNode:
    """What a field set selects."""
    return FieldSet.parse(text).selections


def names_in(text: str) -> set[str]:
    """The fields at the top of a field set."""
    return {node.name.value for node in selected_fields(selected(text))}


@dataclass
class Field:
    """A field as the merged schema has it, and where services differ about it."""

    name: str
    type: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Type, and default if there is one, by name."""
    owners: list[str] = field(default_factory=list)
    """Who defines it, and resolves it unless another took it over."""
    has_nulls: bool = True
    fails: bool = False
    is_hidden: bool = False
    interface: str | None = None
    """The interface whose @interfaceObject adds it."""
    requires: str | None = None
    provides: dict[str, str] = field(default_factory=dict)
    """By owner."""
    stricter: set[str] = field(default_factory=set)
    """Owners that say it is never null, where others don't."""
    taken: tuple[str, str, str | None] | None = None
    """By whom it was taken over, from whom, and the label while which is active."""

    @property
    def named(self) -> str:
        return self.type.strip("[]!")

    @property
    def is_leaf(self) -> bool:
        return self.named in LEAVES

    def resolvers(self, labels: frozenset[str]) -> list[str]:
        """Who resolves it while these labels are active."""
        if self.taken is None:
            return self.owners
        new, old, label = self.taken
        return [new] if label is None or label in labels else [old]

    def printed(self, directives: str = "", type_: str | None = None) -> str:
        arguments = ", ".join(f"{name}: {what}" for name, what in self.arguments.items())
        return f"{self.name}{arguments and f'({arguments})'}: {type_ or self.type}{directives}"


@dataclass
class Type:
    """An object type: a root, an entity with keys, or a value that is shared as a whole."""

    name: str
    fields: dict[str, Field] = field(default_factory=dict)
    interfaces: list[str] = field(default_factory=list)
    all_keys: list[str] = field(default_factory=list)
    keys: dict[str, dict[str, bool]] = field(default_factory=dict)
    """By service, its keys, each with whether it is resolvable."""
    externals: dict[str, set[str]] = field(default_factory=dict)
    """By service, what it only repeats."""
    is_hidden: bool = False

    def key_fields(self, service: str) -> set[str]:
        return {name for key in self.keys.get(service, ()) for name in names_in(key)}

    def add(self, found: Field) -> Field:
        self.fields[found.name] = found
        return found


@dataclass
class Abstract:
    """An interface, with its fields, or a union, without."""

    name: str
    members: list[str]
    fields: dict[str, str] = field(default_factory=dict)
    """Their types, which those of the members may be stricter than."""
    key: str | None = None
    """An interface with a key, which its home knows whole."""
    home: str | None = None
    object_in: str | None = None
    """The service for which it is an object."""

    @property
    def is_union(self) -> bool:
        return not self.fields


@dataclass
class World:
    """A graph, and where each part of it is."""

    seed: int
    services: list[str]
    types: dict[str, Type] = field(default_factory=dict)
    abstracts: dict[str, Abstract] = field(default_factory=dict)
    known: dict[str, set[str]] = field(default_factory=dict)
    """By service, the types that stand in its SDL."""
    extended: set[tuple[str, str]] = field(default_factory=set)
    """Which types are written as extensions, by service and type."""

    # Values

    def resolve(self, source: JSON, name: str, arguments: Mapping[str, Any]) -> Any:
        """The value of a field; fails where the field does."""
        type_ = self.types[source["__typename"]]
        found = type_.fields[name]
        at = (self.seed, source["__typename"], source["n"], name, same(arguments))
        if any(name in names_in(key) for key in type_.all_keys):
            return self._key_value(type_, found, source["n"])
        if (type_.name, name) == ("Tag", "name"):
            return f"tag {source['n']}"
        if found.fails and chance(*at, "fails") % 3 == 0:
            raise FailedError(f"{type_.name}.{name} failed")
        return self._value(found, found.type, at)

    def _key_value(self, type_: Type, found: Field, n: int) -> Any:
        if not found.is_leaf:
            return {"__typename": found.named, "n": n}
        return {
            "id": f"{type_.name}:{n}",
            "code": f"{type_.name}-{n}",
            "region": f"region {n % 2}",
            "no": n,
        }[found.name]

    def _value(self, found: Field, type_: str, at: tuple[object, ...]) -> Any:
        if not type_.endswith("!") and found.has_nulls and chance(*at, "null") % 5 == 0:
            return None
        inner = type_.removesuffix("!")
        if inner.startswith("["):
            is_possible = found.is_leaf or self.pool(found)
            length = chance(*at, "length") % 4 if is_possible else 0
            return [self._value(found, inner[1:-1], (*at, i)) for i in range(length)]
        if found.is_leaf:
            return LEAVES[inner](chance(*at))
        return self._object(self.pool(found), at)

    def _object(self, pool: list[str], at: tuple[object, ...]) -> JSON | None:
        if not pool:
            return None
        name = pool[chance(*at, "type") % len(pool)]
        many = EACH if self.types[name].all_keys else 1000
        return {"__typename": name, "n": chance(*at, "n") % many}

    def pool(self, found: Field) -> list[str]:
        """The types that all who resolve a field know among those it may return."""
        pools = [set(self.members_in(owner, found.named)) for owner in found.owners]
        return sorted(set.intersection(*pools))

    def members_in(self, service: str, name: str) -> list[str]:
        """The object types that a type may have, as far as a service knows them."""
        if name in self.types:
            return [name]
        abstract = self.abstracts[name]
        if abstract.object_in == service:
            return abstract.members
        return [member for member in abstract.members if member in self.known[service]]

    def select(self, source: JSON, selections: SelectionSetNode) -> JSON:
        """What a field set selects of an object."""
        own = {source["__typename"], *self.types[source["__typename"]].interfaces}
        selected: JSON = {}
        for node in selected_fields(selections, own):
            if node.name.value != "__typename":
                value = self.resolve(source, node.name.value, self._arguments(source, node))
                below = self._below(value, node.selection_set)
                known = selected.get(node.name.value)
                both = isinstance(known, dict) and isinstance(below, dict)
                selected[node.name.value] = known | below if both else below
        return selected

    def _below(self, value: Any, selections: SelectionSetNode | None) -> Any:
        if isinstance(value, list):
            return [self._below(item, selections) for item in value]
        return self.select(value, selections) if value and selections else value

    def _arguments(self, source: JSON, node: FieldNode) -> JSON:
        written = {a.name.value: value_from_ast_untyped(a.value) for a in node.arguments or ()}
        declared = self.types[source["__typename"]].fields[node.name.value].arguments
        defaults = {
            name: int(what.partition("= ")[2]) for name, what in declared.items() if "Int =" in what
        }
        return defaults | written

    # Schemas

    def sdl(self, service: str) -> str:
        """What a service says of itself."""
        imports = (
            '"@key", "@shareable", "@external", "@requires", "@provides", "@override", '
            '"@inaccessible", "@interfaceObject"'
        )
        link = (
            f'extend schema @link(url: "https://specs.apollo.dev/federation/v2.7", '
            f"import: [{imports}])"
        )
        return "\n".join((link, INPUTS, *self._definitions(service)))

    def _definitions(self, service: str) -> Iterator[str]:
        for name in sorted(self.known[service]):
            if name in self.types:
                yield self._print_type(service, self.types[name])
            else:
                yield self._print_abstract(service, self.abstracts[name])

    def _print_type(self, service: str, type_: Type) -> str:
        known = [name for name in type_.interfaces if name in self.known[service]]
        implements = f" implements {' & '.join(known)}" if known else ""
        keys = "".join(_key(*key) for key in type_.keys.get(service, {}).items())
        fields = "\n  ".join(self._print_fields(service, type_))
        start = "extend type" if (service, type_.name) in self.extended else "type"
        hidden = " @inaccessible" if type_.is_hidden else ""
        return f"{start} {type_.name}{implements}{keys}{hidden} {{\n  {fields}\n}}"

    def _print_fields(self, service: str, type_: Type) -> Iterator[str]:
        in_keys = type_.key_fields(service)
        for found in type_.fields.values():
            if found.interface:
                continue
            if service in found.owners:
                yield self._print_owned(service, found)
            elif found.name in in_keys:
                yield found.printed()
            elif found.name in type_.externals.get(service, ()):
                yield found.printed(" @external")

    def _print_owned(self, service: str, found: Field) -> str:
        directives = " @inaccessible" if found.is_hidden else ""
        if found.taken and found.taken[0] == service:
            _, old, label = found.taken
            label_argument = f', label: "{label}"' if label else ""
            directives += f' @override(from: "{old}"{label_argument})'
        elif len(found.owners) > 1 and not found.taken:
            directives += " @shareable"
        if found.requires:
            directives += f' @requires(fields: "{found.requires}")'
        if provides := found.provides.get(service):
            directives += f' @provides(fields: "{provides}")'
        return found.printed(directives, f"{found.type}!" if service in found.stricter else None)

    def _print_abstract(self, service: str, abstract: Abstract) -> str:
        if abstract.object_in == service:
            return self._print_interface_object(abstract)
        members = self.members_in(service, abstract.name)
        if abstract.is_union:
            return f"union {abstract.name} = {' | '.join(members)}"
        key = _key(abstract.key, True) if abstract.key and abstract.home == service else ""
        fields = "\n  ".join(
            self.types[members[0]].fields[name].printed(type_=type_)
            for name, type_ in abstract.fields.items()
            if all(self.defines(service, member, name) for member in members)
        )
        return f"interface {abstract.name}{key} {{\n  {fields}\n}}"

    def _print_interface_object(self, abstract: Abstract) -> str:
        service, key = str(abstract.object_in), str(abstract.key)
        member = self.types[abstract.members[0]]
        required = {
            name
            for found in member.fields.values()
            if found.interface == abstract.name and found.requires
            for name in names_in(found.requires)
        }
        fields = [f"{key}: ID!"]
        fields += [member.fields[name].printed(" @external") for name in sorted(required)]
        fields += [
            self._print_owned(service, found)
            for found in member.fields.values()
            if found.interface == abstract.name
        ]
        printed = "\n  ".join(fields)
        return f"type {abstract.name} @interfaceObject{_key(key, True)} {{\n  {printed}\n}}"

    def defines(self, service: str, type_name: str, name: str) -> bool:
        """Whether a service has a field of an object type, and not only as @external."""
        type_ = self.types[type_name]
        found = type_.fields[name]
        return not found.interface and (
            service in found.owners or name in type_.key_fields(service)
        )

    @property
    def merged(self) -> str:
        """What clients should see when all services are put together."""
        return "\n".join((INPUTS, *self._merged_definitions()))

    def _merged_definitions(self) -> Iterator[str]:
        known = set().union(*self.known.values())
        for name in sorted(known):
            if (type_ := self.types.get(name)) and not type_.is_hidden:
                local = [k for k in self.known.values() if name in k]
                interfaces = [i for i in type_.interfaces if any(i in k for k in local)]
                implements = f" implements {' & '.join(interfaces)}" if interfaces else ""
                fields = [f.printed() for f in type_.fields.values() if self._is_declared(type_, f)]
                yield f"type {name}{implements} {{ {' '.join(fields)} }}"
            elif name in self.abstracts:
                yield self._merged_abstract(self.abstracts[name])

    def _is_declared(self, type_: Type, found: Field) -> bool:
        defined = found.interface or any(
            self.defines(service, type_.name, found.name) for service in self.services
        )
        return bool(defined) and not found.is_hidden

    def _merged_abstract(self, abstract: Abstract) -> str:
        knowing = [s for s in self.services if abstract.name in self.known[s]]
        if abstract.is_union:
            members = {m for s in knowing for m in self.members_in(s, abstract.name)}
            members = {member for member in members if not self.types[member].is_hidden}
            return f"union {abstract.name} = {' | '.join(sorted(members))}"
        member = self.types[abstract.members[0]]
        printed = [
            member.fields[name].printed(type_=type_)
            for name, type_ in abstract.fields.items()
            if any(
                all(self.defines(s, m, name) for m in self.members_in(s, abstract.name))
                for s in knowing
                if s != abstract.object_in
            )
        ]
        printed += [f.printed() for f in member.fields.values() if f.interface == abstract.name]
        return f"interface {abstract.name} {{ {' '.join(printed)} }}"


def _key(fields: str, is_resolvable: bool) -> str:
    return f' @key(fields: "{fields}"{"" if is_resolvable else ", resolvable: false"})'
