"""Read a standard supergraph SDL, whoever composed it (join v0.2 to v0.5)."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from graphql import (
    ConstDirectiveNode,
    DefinitionNode,
    DocumentNode,
    EnumTypeDefinitionNode,
    FieldDefinitionNode,
    GraphQLError,
    GraphQLSyntaxError,
    InterfaceTypeDefinitionNode,
    ObjectTypeDefinitionNode,
    TypeDefinitionNode,
    TypeNode,
    UnionTypeDefinitionNode,
    get_argument_values,
    parse,
    parse_type,
)

from gateway.supergraph.composition.api_schema import build_schemas, public_sdl
from gateway.supergraph.composition.coordinates import walk
from gateway.supergraph.composition.federation_directives import SIGNATURES, STANDARD, Applied
from gateway.supergraph.composition.join_spec import JOIN_VERSIONS, UNDERSTOOD
from gateway.supergraph.composition.merge_metadata import MetadataMerger, guard_implementations
from gateway.supergraph.composition.spec_links import (
    APOLLO,
    Arguments,
    Link,
    arguments_of,
    read_links,
)
from gateway.supergraph.composition.subgraph_schema import syntax_problem, with_standard_root_names
from gateway.supergraph.errors import (
    CompositionError,
    CompositionProblem,
    SupergraphUnreadable,
    to_sentence,
)
from gateway.supergraph.field_sets import FieldSet
from gateway.supergraph.override_labels import OverrideLabel
from gateway.supergraph.supergraph import JoinField, JoinType, Key, Subgraph, Supergraph

SUPERGRAPH = "supergraph"
"""Stands for the subgraphs of a problem: the SDL doesn't say whose it is."""

Composite: TypeAlias = (
    ObjectTypeDefinitionNode | InterfaceTypeDefinitionNode | UnionTypeDefinitionNode
)


def read_supergraph(sdl: str) -> Supergraph:
    """The facts of a composed graph, as `compose` would give them.

    Raises:
        SupergraphUnreadable: It is no supergraph, or uses what this gateway can't do; every
            reason is listed.
    """
    try:
        document = with_standard_root_names(parse(sdl, no_location=False))
    except GraphQLError as error:
        raise SupergraphUnreadable(
            [_problem("", syntax_problem(error), "Mend the SDL there.")]
        ) from None
    reader = _SupergraphReader(document)
    join_facts = reader.join()
    try:
        full_schema, schema = build_schemas(
            reader.definitions, reader.inaccessible, lambda _: (SUPERGRAPH,), reader.problems
        )
    except CompositionError as error:
        raise SupergraphUnreadable(error.problems) from None
    guard_implementations(reader.metadata, full_schema, derived=True)
    return Supergraph(
        schema=schema,
        full_schema=full_schema,
        sdl=public_sdl(schema),
        subgraphs=join_facts,
        metadata=reader.metadata.build(),
        urls=dict(sorted(reader.urls.items())),
    )


class _SupergraphDirectives:
    """What the directives of the specifications in use are called in this document."""

    def __init__(self, links: Iterable[Link], problems: list[CompositionProblem]) -> None:
        self._problems = problems
        self._canonical = {name: name for name in STANDARD}
        self.namespaces = {"link"}
        self.types: set[str] = set()
        by_name = {link.short_name: link for link in links if link.spec.startswith(APOLLO)}
        for link in links:
            self._read_link(link)
        for spec, directives in UNDERSTOOD.items():
            link = by_name.get(spec, Link(f"{APOLLO}{spec}/v0.1", spec, {}, None))
            for directive in directives:
                canonical = f"{spec}__{directive}" if spec == "join" else directive
                self._canonical[link.local_name(directive)] = canonical
        if "join" not in by_name:
            reason = "It links no join specification, so it is no supergraph."
            problems.append(_problem("", reason, "Pass subgraph SDL to `compose` instead."))

    def _read_link(self, link: Link) -> None:
        self.namespaces.add(link.namespace)
        self.types |= {name for name in link.imports if not name.startswith("@")}
        is_known = link.spec.startswith(APOLLO) and link.short_name in UNDERSTOOD
        if link.purpose and not is_known:
            reason = f"It links {link.url!r} for {link.purpose}, which this gateway doesn't know."
            self._problems.append(_problem("", reason, "Compose without it."))
        if link.spec == f"{APOLLO}join" and link.version not in JOIN_VERSIONS:
            reason = f"It is written in join {link.version!r}, which can't be read."
            self._problems.append(
                _problem("", reason, f"Compose it anew in {JOIN_VERSIONS[-1]}, with Federation 2.")
            )

    def applied(self, node: Any, coordinate: str) -> Applied:
        """The directives on a node by their own names; others are left out."""
        applied: dict[str, tuple[Arguments, ...]] = {}
        for directive in node.directives or ():
            if name := self._canonical.get(directive.name.value):
                arguments = self._arguments(name, directive, coordinate)
                applied[name] = (*applied.get(name, ()), arguments)
        return applied

    def _arguments(self, name: str, directive: ConstDirectiveNode, coordinate: str) -> Arguments:
        """The arguments; those of the join specification differ from version to version."""
        if name not in SIGNATURES:
            return arguments_of(directive)
        try:
            return get_argument_values(SIGNATURES[name], directive)
        except GraphQLError as error:
            reason = f"@{name}: {to_sentence(error.message)}"
            self._problems.append(_problem(coordinate, reason, "Compose it anew."))
            return {}

    def is_machinery(self, name: str) -> bool:
        """Whether a type belongs to a specification, not to the graph."""
        namespace, _, rest = name.partition("__")
        return name in self.types or bool(rest and namespace in self.namespaces)


class _SupergraphReader:
    """Reads one document. What is in the way is gathered in `problems`."""

    def __init__(self, document: DocumentNode) -> None:
        self.problems: list[CompositionProblem] = []
        self.metadata = MetadataMerger()
        self.inaccessible: set[str] = set()
        self.definitions: list[DefinitionNode] = []
        self._names = _SupergraphDirectives(list(read_links(document)), self.problems)
        self._graphs: dict[str, str] = {}
        """The subgraphs' names, by those in the enum join__Graph."""
        self.urls: dict[str, str] = {}
        self._types: dict[str, Composite] = {}
        self._applied: dict[str, Applied] = {}
        for node in document.definitions:
            if isinstance(node, EnumTypeDefinitionNode):
                self._read_graphs(node)
        for node in document.definitions:
            if isinstance(node, TypeDefinitionNode) and not self._names.is_machinery(
                node.name.value
            ):
                self._read_type(node)

    def _read_graphs(self, node: EnumTypeDefinitionNode) -> None:
        for value in node.values or ():
            for graph in self._names.applied(value, value.name.value).get("join__graph", ()):
                name = self._graphs[value.name.value] = str(graph.get("name"))
                if graph.get("url"):
                    self.urls[name] = str(graph["url"])

    def join(self) -> dict[str, Subgraph]:
        if not self._graphs:
            reason = "It has no enum of subgraphs marked @join__graph."
            self.problems.append(_problem("", reason, "Pass a whole supergraph SDL."))
        graphs = sorted(self._graphs.items(), key=lambda graph: graph[1])
        return {name: Subgraph(name, self._join_graph(graph)) for graph, name in graphs}

    def _read_type(self, node: TypeDefinitionNode) -> None:
        name = node.name.value
        self.definitions.append(node)
        if isinstance(node, Composite):
            self._types[name] = node
        for coordinate, part in walk(node, name):
            self._applied[coordinate] = self._note(coordinate, part)

    def _note(self, coordinate: str, node: Any) -> Applied:
        applied = self._names.applied(node, coordinate)
        self.metadata.add(coordinate, applied)
        if "inaccessible" in applied:
            self.inaccessible.add(coordinate)
        for connected in applied.get("join__directive", ()):
            if connected.get("name") == "connect":
                reason = "A connector resolves it, which this gateway can't do."
                self.problems.append(_problem(coordinate, reason, "Resolve it in a subgraph."))
        return applied

    # One subgraph

    def _join_graph(self, graph: str) -> dict[str, JoinType]:
        return {
            name: found
            for name, node in self._types.items()
            if self._has_type(graph, name)
            and not _is_bare_root(found := self._join_type(graph, name, node))
        }

    def _has_type(self, graph: str, name: str) -> bool:
        return any(use.get("graph") == graph for use in self._applied[name].get("join__type", ()))

    def _join_type(self, graph: str, name: str, node: Composite) -> JoinType:
        uses = [u for u in self._applied[name].get("join__type", ()) if u.get("graph") == graph]
        is_interface_object = any(use.get("isInterfaceObject") is True for use in uses)
        keys = tuple(self._keys(name, uses))
        fields = dict(self._fields(graph, name, node))
        is_object = is_interface_object or isinstance(node, ObjectTypeDefinitionNode)
        return JoinType(
            name=name,
            fields=fields,
            keys=keys,
            possible_types=frozenset((name,) if is_object else self._possible(graph, name, node)),
            is_object=is_object,
            is_interface_object=is_interface_object,
        )

    def _keys(self, name: str, uses: Iterable[Arguments]) -> Iterator[Key]:
        for use in uses:
            if use.get("key") and (fields := self._field_set(name, use["key"])):
                yield Key(fields, use.get("resolvable") is not False)

    def _possible(self, graph: str, name: str, node: Composite) -> Iterator[str]:
        """The object types a value may have here."""
        if isinstance(node, UnionTypeDefinitionNode):
            members = self._applied[name].get("join__unionMember")
            if members is None:  # join v0.2 has no such directive
                written = (member.name.value for member in node.types or ())
                yield from (member for member in written if self._has_type(graph, member))
            for use in members or ():
                if use.get("graph") == graph:
                    yield str(use.get("member"))
            return
        for other, definition in self._types.items():
            uses = self._applied[other].get("join__implements", ())
            if isinstance(definition, ObjectTypeDefinitionNode) and (
                {"graph": graph, "interface": name} in uses
            ):
                yield other

    # Fields

    def _fields(self, graph: str, name: str, node: Composite) -> Iterator[tuple[str, JoinField]]:
        for member in getattr(node, "fields", None) or ():
            coordinate = f"{name}.{member.name.value}"
            for use in self._applied[coordinate].get("join__field", ({"graph": graph},)):
                if use.get("graph") == graph:
                    yield member.name.value, self._join_field(coordinate, member, use)

    def _join_field(self, coordinate: str, node: FieldDefinitionNode, use: Arguments) -> JoinField:
        if use.get("contextArguments"):
            reason = "It takes arguments @fromContext, which this gateway can't fill."
            self.problems.append(_problem(coordinate, reason, "Pass them with @requires."))
        name = node.name.value
        label = use.get("overrideLabel")
        return JoinField(
            name=name,
            type=self._type(coordinate, node.type, use.get("type")),
            external=use.get("external") is True,
            overridden=use.get("usedOverridden") is True and not label,
            requires=self._field_set(coordinate, use.get("requires")),
            provides=self._field_set(coordinate, use.get("provides")),
            label=OverrideLabel(str(label), active=bool(use.get("override"))) if label else None,
        )

    def _type(self, coordinate: str, merged: TypeNode, own: object) -> TypeNode:
        try:
            return parse_type(str(own), no_location=True) if own else merged
        except GraphQLSyntaxError as error:
            reason = f"Its type {own!r} can't be read: {to_sentence(error.message)}"
            self.problems.append(_problem(coordinate, reason, "Compose it anew."))
            return merged

    def _field_set(self, coordinate: str, text: str | None) -> FieldSet | None:
        try:
            return FieldSet.parse(text) if text else None
        except GraphQLSyntaxError as error:
            reason = f"The fields {text!r} can't be read: {to_sentence(error.message)}"
            self.problems.append(_problem(coordinate, reason, "Compose it anew."))
            return None


def _is_bare_root(found: JoinType) -> bool:
    """Composers list Query for every subgraph, whether it has something to ask there or not."""
    return found.name == "Query" and not found.fields


def _problem(coordinate: str, reason: str, hint: str) -> CompositionProblem:
    return CompositionProblem((SUPERGRAPH,), coordinate, reason, hint)
