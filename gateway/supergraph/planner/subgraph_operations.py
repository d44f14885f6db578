"""Turn visits into requests: one per subgraph and level, as text that is ready to be sent."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from graphql import (
    GraphQLInterfaceType,
    GraphQLNonNull,
    GraphQLObjectType,
    SelectionSetNode,
    print_ast,
)
from graphql.language import VariableDefinitionNode

from gateway.supergraph.field_sets import FieldSet, selected_fields
from gateway.supergraph.planner.fetch_nodes import Load, Part, Request, Source, place_of
from gateway.supergraph.planner.query_graph import Visit
from gateway.supergraph.planner.selection_tree import TYPENAME, Branch, Field, Tree
from gateway.supergraph.planner.subgraph_selections import SelectionWriter
from gateway.supergraph.schema_metadata import NOT_IDEMPOTENT


@dataclass(slots=True)
class RequestWriter:
    """Writes the requests of one tree's visits."""

    tree: Tree
    kind: str
    name: str
    variables: Mapping[str, VariableDefinitionNode]

    def write(self, visits: Sequence[Visit]) -> tuple[Request, ...]:
        """Requests in an order in which none comes before one it waits for."""
        grouped: dict[object, list[Visit]] = {}
        for visit in sorted(visits, key=lambda visit: (visit.depth, visit.order)):
            grouped.setdefault(_group(visit), []).append(visit)
        requests = {
            group: self._request(number, members)
            for number, (group, members) in enumerate(grouped.items())
        }
        for group, members in grouped.items():
            sources = {_group(source) for visit in members for source in visit.sources}
            requests[group].waits_for = len(sources)
            for source in sources:
                requests[source].followers.append(requests[group])
        return tuple(requests.values())

    def _request(self, number: int, visits: list[Visit]) -> Request:
        if not visits[0].inputs:
            return self._plain_request(number, visits[0])
        return self._entity_request(number, visits)

    def _plain_request(self, number: int, visit: Visit) -> Request:
        """A request for root fields, at the root or at a field that returns Query."""
        fragments: dict[str, str] = {}
        writer = SelectionWriter({visit}, visit.subgraph, fragments)
        selection = writer.object(visit.branch, visit.branch.types[0])
        used = _used_variables([visit])
        kind = self.kind if visit.branch.position.parent is None else "query"
        text = self._operation(kind, number, visit, self._declared(used), selection)
        return Request(
            visit.subgraph.name,
            text + _definitions(fragments),
            used,
            place_of(visit.branch),
            (),
            is_idempotent=kind != "mutation" and self._is_idempotent([visit]),
            is_mutation=kind == "mutation",
        )

    def _entity_request(self, number: int, visits: list[Visit]) -> Request:
        fragments: dict[str, str] = {}
        by_selection: dict[str, list[Source]] = {}
        for members in _compatible(visits):
            branch = members[0].branch
            source = self._source(branch, members)
            writer = SelectionWriter(set(members), visits[0].subgraph, fragments)
            text = writer.entities(branch, members[0].interface_object)
            by_selection.setdefault(text, []).append(source)
        used = _used_variables(visits)
        prefix = self._free_prefix()
        loads = tuple(
            Load(f"_{n}" if n else "_entities", f"{prefix}{n}", tuple(sources))
            for n, sources in enumerate(by_selection.values())
        )
        selected = " ".join(
            f"{load.alias if load.alias == '_entities' else f'{load.alias}: _entities'}"
            f"(representations: ${load.variable}) {text}"
            for load, text in zip(loads, by_selection, strict=True)
        )
        declared = [*self._declared(used), *(f"${load.variable}: [_Any!]!" for load in loads)]
        text = self._operation("query", number, visits[0], declared, f"{{ {selected} }}")
        return Request(
            visits[0].subgraph.name,
            text + _definitions(fragments),
            used,
            None,
            loads,
            is_idempotent=self._is_idempotent(visits),
        )

    def _is_idempotent(self, visits: Iterable[Visit]) -> bool:
        supergraph = self.tree.supergraph
        return not any(
            supergraph.is_tagged(type_name, wanted.name, NOT_IDEMPOTENT)
            for visit in visits
            for wanted in visit.fields
            for type_name in wanted.branch.types
        )

    def _operation(
        self, kind: str, number: int, visit: Visit, declared: Sequence[str], selection: str
    ) -> str:
        subgraph = "".join(c if c.isascii() and c.isalnum() else "_" for c in visit.subgraph.name)
        variables = f"({', '.join(declared)})" if declared else ""
        return f"{kind} {self.name}__{subgraph}__{number}{variables} {selection}"

    def _declared(self, used: Iterable[str]) -> list[str]:
        return [print_ast(self.variables[name]) for name in used]

    def _free_prefix(self) -> str:
        prefix = "representations"
        while any(name.startswith(prefix) for name in self.variables):
            prefix = f"_{prefix}"
        return prefix

    def _source(self, branch: Branch, visits: Sequence[Visit]) -> Source:
        """Where the entities of a branch are read from, and how."""
        keys = {id(visit.inputs[0].selections) for visit in visits}
        chosen = {fields: None for visit in visits for fields in visit.inputs}
        selections = [(fields.selections, id(fields.selections) in keys) for fields in chosen]
        return Source(
            place=place_of(branch),
            typename=visits[0].interface_object
            or (branch.types[0] if len(branch.types) == 1 else None),
            parts=self._parts(branch, selections),
        )

    def _parts(
        self, branch: Branch, selections: Sequence[tuple[SelectionSetNode, bool]]
    ) -> tuple[Part, ...]:
        names = branch.names
        merged: dict[str, tuple[Field, list[tuple[SelectionSetNode, bool]], bool]] = {}
        for selection_set, is_key in selections:
            for node in selected_fields(selection_set, names.all):
                name = node.name.value
                if name == TYPENAME:
                    continue
                wanted = self.tree.input(branch, node)
                required = is_key or self._is_non_null(branch.types[0], name)
                _, below, was_required = merged.get(name, (wanted, [], False))
                if node.selection_set:
                    below.append((node.selection_set, is_key))
                merged[name] = (wanted, below, required or was_required)
        return tuple(
            Part(name, wanted.raw_key, required, self._below(wanted, below))
            for name, (wanted, below, required) in merged.items()
        )

    def _below(
        self, wanted: Field, selections: Sequence[tuple[SelectionSetNode, bool]]
    ) -> Mapping[str, tuple[Part, ...]] | None:
        if wanted.child is None:
            return None
        if not wanted.child.is_abstract:
            return {"": self._parts(wanted.child.branches[0], selections)}
        return {
            name: self._parts(branch, selections)
            for branch in wanted.child.branches
            for name in branch.types
        }

    def _is_non_null(self, type_name: str, field_name: str) -> bool:
        type_ = self.tree.supergraph.full_schema.type_map[type_name]
        assert isinstance(type_, GraphQLObjectType | GraphQLInterfaceType)
        return isinstance(type_.fields[field_name].type, GraphQLNonNull)


def _group(visit: Visit) -> object:
    """Visits of one group share a request. Roots stay alone: there is one per subgraph."""
    if not visit.inputs:
        return visit
    return visit.subgraph.name, visit.depth


def _compatible(visits: Iterable[Visit]) -> list[list[Visit]]:
    """Visits of one branch together, unless they enter as another type, or need the same input
    with other arguments.
    """
    together: list[tuple[list[Visit], dict[str, str]]] = []
    for visit in visits:
        needed = dict(_arguments(visit.inputs))
        for members, known in together:
            is_alike = (members[0].branch, members[0].interface_object) == (
                visit.branch,
                visit.interface_object,
            )
            if is_alike and all(
                known.get(path, arguments) == arguments for path, arguments in needed.items()
            ):
                members.append(visit)
                known.update(needed)
                break
        else:
            together.append(([visit], needed))
    return [members for members, _ in together]


def _arguments(inputs: Iterable[FieldSet]) -> Iterator[tuple[str, str]]:
    """The arguments of every field in these inputs, by the path to it."""
    waiting = [("", fields.selections) for fields in inputs]
    while waiting:
        above, selections = waiting.pop()
        for node in selected_fields(selections):
            path = f"{above}.{node.name.value}"
            yield path, ", ".join(print_ast(argument) for argument in node.arguments or ())
            if node.selection_set:
                waiting.append((path, node.selection_set))


def _used_variables(visits: Iterable[Visit]) -> tuple[str, ...]:
    names = {name for visit in visits for wanted in visit.fields for name in wanted.variables}
    return tuple(sorted(names))


def _definitions(fragments: Mapping[str, str]) -> str:
    return "".join(f" fragment {name} {text}" for text, name in fragments.items())
