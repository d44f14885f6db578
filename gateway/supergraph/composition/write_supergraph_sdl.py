"""Write a standard supergraph SDL (join v0.5), for other routers and for `read_supergraph`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphql import (
    ConstDirectiveNode,
    DefinitionNode,
    EnumValueDefinitionNode,
    FieldDefinitionNode,
    GraphQLInterfaceType,
    InputObjectTypeDefinitionNode,
    print_ast,
)

from gateway.supergraph.composition.composed_directives import composed_specs
from gateway.supergraph.composition.coordinates import rewrite
from gateway.supergraph.composition.field_set_usage import used_coordinates
from gateway.supergraph.composition.join_spec import BASE, WHERE_USED
from gateway.supergraph.composition.merge_metadata import NOTHING, combine_all
from gateway.supergraph.composition.subgraph_schema import (
    SubgraphDefinition,
    TypeDefinition,
    is_interface_object,
)
from gateway.supergraph.schema_metadata import AccessRequirement, AnyOf, ListSize
from gateway.supergraph.supergraph import JoinField, Supergraph
from gateway.supergraph.syntax import ROOTS, EnumLiteral, directive

Directives = Iterator[ConstDirectiveNode]


def write_supergraph(
    supergraph: Supergraph,
    subgraphs: Sequence[SubgraphDefinition],
    definitions: Sequence[DefinitionNode],
    inaccessible: set[str],
) -> str:
    """The SDL of what was composed. The same subgraphs give the same text.

    Args:
        subgraphs: As they were read.
        definitions: The merged types.
        hidden: The coordinates that are @inaccessible.
    """
    writer = _SupergraphWriter(supergraph, subgraphs, inaccessible)
    types = [print_ast(writer.annotate(node)) for node in definitions]
    composed = (one for subgraph in subgraphs for one in subgraph.composed.values())
    used = (spec for name, spec in WHERE_USED.items() if name in writer.used)
    specs = [BASE, *used, *composed_specs(composed)]
    links = "\n".join(spec.link for spec in specs)
    roots = "\n".join(
        f"  {root.lower()}: {root}"
        for root in ROOTS.values()
        if root in supergraph.full_schema.type_map
    )
    head = f"schema\n{links}\n{{\n{roots}\n}}"
    parts = [head, *(spec.definitions for spec in specs), writer.graphs(), *types]
    return "\n\n".join(parts) + "\n"


def graph_names(subgraphs: Sequence[str]) -> dict[str, str]:
    """The name of each subgraph in the enum `join__Graph`."""
    names: dict[str, str] = {}
    for subgraph in sorted(subgraphs):
        plain = re.sub(r"[^A-Z0-9]", "_", subgraph.upper())
        safe = f"_{plain}" if plain[:1].isdigit() else plain
        taken = set(names.values())
        names[subgraph] = next(
            name
            for name in (safe, *(f"{safe}_{n}" for n in range(1, len(names) + 2)))
            if name not in taken
        )
    return names


class _SupergraphWriter:
    """Adds to each merged definition where it comes from, and its access, cost and tags.

    `used` gathers the specifications that need a link.
    """

    def __init__(
        self,
        supergraph: Supergraph,
        subgraphs: Sequence[SubgraphDefinition],
        inaccessible: set[str],
    ) -> None:
        self.used: set[str] = set()
        self._supergraph = supergraph
        self._subgraphs = {subgraph.name: subgraph for subgraph in subgraphs}
        self._inaccessible = inaccessible
        self._names = graph_names(list(self._subgraphs))
        self._used_fields = {
            name: used_coordinates(subgraph) for name, subgraph in supergraph.subgraphs.items()
        }

    def graphs(self) -> str:
        urls = self._supergraph.urls
        values = (
            f"  {name} {print_ast(directive('join__graph', name=found, url=urls.get(found, '')))}"
            for found, name in self._names.items()
        )
        return "enum join__Graph {\n" + "\n".join(values) + "\n}"

    def annotate(self, node: Any) -> Any:
        name = node.name.value
        owned = {s.name: s.types[name] for s in self._subgraphs.values() if name in s.types}

        def change(coordinate: str, part: Any) -> dict[str, Any]:
            origin = self._origin(node, part, owned)
            return {"directives": (*origin, *part.directives, *self._metadata(coordinate))}

        return rewrite(node, name, change)

    def _graph(self, subgraph: str) -> EnumLiteral:
        return EnumLiteral(self._names[subgraph])

    # Types

    def _of_type(self, name: str, owned: Mapping[str, TypeDefinition]) -> Directives:
        for owner, type_ in owned.items():
            for interface in dict.fromkeys(type_.interfaces):
                yield directive("join__implements", graph=self._graph(owner), interface=interface)
        for owner in self._owners(name, owned):
            yield from self._of_keys(name, owner, owned.get(owner))
        for owner, type_ in owned.items():
            for member in dict.fromkeys(type_.union):
                yield directive("join__unionMember", graph=self._graph(owner), member=member)

    def _owners(self, name: str, owned: Mapping[str, TypeDefinition]) -> Sequence[str]:
        """Every subgraph has a query root: it is where entities are requirement for."""
        return list(self._names if name == "Query" else owned)

    def _of_keys(self, name: str, owner: str, type_: TypeDefinition | None) -> Directives:
        join_type = self._supergraph.subgraphs[owner].types.get(name)
        is_entity_interface = type_ is not None and is_interface_object(type_)
        more: dict[str, Any] = {"isInterfaceObject": True if is_entity_interface else None}
        for key in join_type.keys if join_type else ():
            yield directive(
                "join__type",
                graph=self._graph(owner),
                key=key.fields.sdl,
                extension=True if type_ and type_.is_extension else None,
                resolvable=None if key.resolvable else False,
                **more,
            )
        if not join_type or not join_type.keys:
            yield directive("join__type", graph=self._graph(owner), **more)

    # Members

    def _origin(self, node: Any, part: Any, owned: Mapping[str, TypeDefinition]) -> Directives:
        """Which subgraphs have a definition or a member of it; nothing of arguments."""
        if part is node:
            return self._of_type(node.name.value, owned)
        if isinstance(part, EnumValueDefinitionNode):
            return self._of_value(part.name.value, owned)
        if isinstance(part, FieldDefinitionNode):
            return self._of_field(node.name.value, part, owned)
        is_input = isinstance(node, InputObjectTypeDefinitionNode)
        return self._of_input(part, owned) if is_input else iter(())

    def _of_value(self, value: str, owned: Mapping[str, TypeDefinition]) -> Directives:
        for owner, type_ in owned.items():
            if value in type_.members:
                yield directive("join__enumValue", graph=self._graph(owner))

    def _of_input(self, member: Any, owned: Mapping[str, TypeDefinition]) -> Directives:
        merged = print_ast(member.type)
        types = {
            owner: print_ast(type_.members[member.name.value].node.type)  # type: ignore[union-attr]
            for owner, type_ in owned.items()
        }
        if set(types.values()) != {merged}:
            for owner, own in types.items():
                other = own if own != merged else None
                yield directive("join__field", graph=self._graph(owner), type=other)

    def _of_field(self, name: str, member: Any, owned: Mapping[str, TypeDefinition]) -> Directives:
        merged = print_ast(member.type)
        facts: dict[str, dict[str, Any]] = {}
        for owner in owned:
            join_type = self._supergraph.subgraphs[owner].types.get(name)
            found = join_type.fields.get(member.name.value) if join_type else None
            if found and self._counts(owner, owned[owner], found):
                facts[owner] = _facts(found, merged, self._overridden(owned[owner], found))
        if not facts:
            yield directive("join__field")
        elif any(facts.values()) or list(facts) != self._owners(name, owned):
            for owner, fact in facts.items():
                yield directive("join__field", graph=self._graph(owner), **fact)

    def _counts(self, owner: str, type_: TypeDefinition, found: JoinField) -> bool:
        """Whether a subgraph that doesn't resolve a field needs it all the same: in a field set,
        or because an interface has it. Readers refuse the others.
        """
        if not (found.external or found.overridden) or found.label:
            return True
        types = self._subgraphs[owner].types
        return f"{type_.name}.{found.name}" in self._used_fields[owner] or any(
            name in types and found.name in types[name].members for name in type_.interfaces
        )

    def _overridden(self, type_: TypeDefinition, found: JoinField) -> str | None:
        """The subgraph a field was taken over from, if it is there."""
        for use in type_.members[found.name].directives.get("override", ()):
            origin = str(use.get("from"))
            if origin in self._names or found.label:
                return origin
        return None

    # Metadata of a coordinate

    def _metadata(self, coordinate: str) -> Directives:
        for found in self._metadata_directives(coordinate):
            self.used.add({"listSize": "cost"}.get(found.name.value, found.name.value))
            yield found

    def _metadata_directives(self, coordinate: str) -> Directives:
        metadata = self._supergraph.metadata
        for tag in sorted(metadata.tags.get(coordinate, ())):
            yield directive("tag", name=tag)
        if coordinate in self._inaccessible:
            yield directive("inaccessible")
        yield from _access_directives(self._requirement(coordinate))
        if coordinate in metadata.costs:
            yield directive("cost", weight=metadata.costs[coordinate])
        if coordinate in metadata.list_sizes:
            yield _list_size(metadata.list_sizes[coordinate])

    def _requirement(self, coordinate: str) -> AccessRequirement:
        """For an interface, all that any implementation requires: other routers look at it."""
        requirements = self._supergraph.metadata.requirements
        name, dot, field = coordinate.partition(".")
        type_ = self._supergraph.full_schema.type_map[name]
        if not isinstance(type_, GraphQLInterfaceType):
            return requirements.get(coordinate, NOTHING)
        implementations = self._supergraph.full_schema.get_implementations(type_).objects
        return combine_all(
            requirements.get(f"{found.name}{dot}{field}", NOTHING) for found in implementations
        )


def _facts(found: JoinField, merged: str, origin: str | None) -> dict[str, Any]:
    """What is special about a field in one subgraph: the arguments of its @join__field."""
    own = print_ast(found.type)
    arguments = {
        "requires": found.requires.sdl if found.requires else None,
        "provides": found.provides.sdl if found.provides else None,
        "type": own if own != merged else None,
        "external": found.external or None,
        "override": origin,
        "usedOverridden": (found.overridden and not found.external) or None,
        "overrideLabel": found.label.name if found.label else None,
    }
    return {name: value for name, value in arguments.items() if value is not None}


def _access_directives(requirement: AccessRequirement) -> Directives:
    if requirement.authenticated:
        yield directive("authenticated")
    if requirement.scopes:
        yield directive("requiresScopes", scopes=_lists(requirement.scopes))
    if requirement.policies:
        yield directive("policy", policies=_lists(requirement.policies))


def _lists(any_of: AnyOf) -> list[list[str]]:
    return sorted(sorted(combine_all) for combine_all in any_of)


def _list_size(size: ListSize) -> ConstDirectiveNode:
    return directive(
        "listSize",
        assumedSize=size.assumed,
        slicingArguments=size.slicing_arguments or None,
        sizedFields=size.sized_fields or None,
        requireOneSlicingArgument=None if size.require_one_slicing_argument else False,
    )
