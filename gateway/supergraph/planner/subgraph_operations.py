"""Turn fetch groups into fetches: one per subgraph and level, as text that is ready to be sent."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from graphql import GraphQLNonNull, SelectionSetNode, print_ast
from graphql.language import VariableDefinitionNode

from gateway.supergraph.field_sets import FieldSet, selected_fields
from gateway.supergraph.planner.fetch_groups import FetchGroup
from gateway.supergraph.planner.fetch_nodes import (
    EntityFetch,
    FetchNode,
    RepresentationField,
    RepresentationSource,
    path_to,
)
from gateway.supergraph.planner.selection_tree import Branch, SelectionField, SelectionTree
from gateway.supergraph.planner.subgraph_selections import SelectionWriter
from gateway.supergraph.schema_metadata import NOT_IDEMPOTENT
from gateway.supergraph.syntax import TYPENAME


@dataclass(slots=True)
class OperationWriter:
    tree: SelectionTree
    kind: str
    name: str
    variables: Mapping[str, VariableDefinitionNode]

    def write(self, groups: Sequence[FetchGroup]) -> tuple[FetchNode, ...]:
        """The fetches in an order in which each comes after those it depends on."""
        by_key: dict[object, list[FetchGroup]] = {}
        for group in sorted(groups, key=lambda group: (group.depth, group.order)):
            by_key.setdefault(_fetch_key(group), []).append(group)
        fetches = {
            key: self._write_fetch(number, members)
            for number, (key, members) in enumerate(by_key.items())
        }
        for key, members in by_key.items():
            dependencies = {_fetch_key(d) for group in members for d in group.dependencies}
            fetches[key].dependency_count = len(dependencies)
            for dependency in dependencies:
                fetches[dependency].dependents.append(fetches[key])
        return tuple(fetches.values())

    def _write_fetch(self, number: int, groups: list[FetchGroup]) -> FetchNode:
        if not groups[0].inputs:
            return self._write_root_fetch(number, groups[0])
        return self._write_entity_fetch(number, groups)

    def _write_root_fetch(self, number: int, group: FetchGroup) -> FetchNode:
        """Fetch root fields, at the root or at a field that returns Query."""
        fragments: dict[str, str] = {}
        writer = SelectionWriter({group}, group.view.subgraph, fragments)
        selection = writer.write_object(group.branch, group.branch.types[0])
        used = _used_variables([group])
        kind = self.kind if group.branch.position.parent is None else "query"
        text = self._operation(kind, number, group, self._print_variables(used), selection)
        return FetchNode(
            group.view.subgraph.name,
            text + _print_fragments(fragments),
            used,
            path_to(group.branch),
            (),
            is_idempotent=kind != "mutation" and self._is_idempotent([group]),
            is_mutation=kind == "mutation",
        )

    def _write_entity_fetch(self, number: int, groups: list[FetchGroup]) -> FetchNode:
        fragments: dict[str, str] = {}
        by_selection: dict[str, list[RepresentationSource]] = {}
        for members in _group_compatible(groups):
            branch = members[0].branch
            source = self._build_source(branch, members)
            writer = SelectionWriter(set(members), groups[0].view.subgraph, fragments)
            text = writer.write_entities(branch, members[0].view.interface_object)
            by_selection.setdefault(text, []).append(source)
        used = _used_variables(groups)
        prefix = self._choose_prefix()
        entity_fetches = tuple(
            EntityFetch(f"_{n}" if n else "_entities", f"{prefix}{n}", tuple(sources))
            for n, sources in enumerate(by_selection.values())
        )
        selected = " ".join(
            f"{fetch.alias if fetch.alias == '_entities' else f'{fetch.alias}: _entities'}"
            f"(representations: ${fetch.variable}) {text}"
            for fetch, text in zip(entity_fetches, by_selection, strict=True)
        )
        representations = (f"${fetch.variable}: [_Any!]!" for fetch in entity_fetches)
        declared = [*self._print_variables(used), *representations]
        text = self._operation("query", number, groups[0], declared, f"{{ {selected} }}")
        return FetchNode(
            groups[0].view.subgraph.name,
            text + _print_fragments(fragments),
            used,
            None,
            entity_fetches,
            is_idempotent=self._is_idempotent(groups),
        )

    def _is_idempotent(self, groups: Iterable[FetchGroup]) -> bool:
        supergraph = self.tree.supergraph
        return not any(
            supergraph.is_tagged(type_name, wanted.name, NOT_IDEMPOTENT)
            for group in groups
            for wanted in group.fields
            for type_name in wanted.branch.types
        )

    def _operation(
        self, kind: str, number: int, group: FetchGroup, declared: Sequence[str], selection: str
    ) -> str:
        subgraph = "".join(
            c if c.isascii() and c.isalnum() else "_" for c in group.view.subgraph.name
        )
        variables = f"({', '.join(declared)})" if declared else ""
        return f"{kind} {self.name}__{subgraph}__{number}{variables} {selection}"

    def _print_variables(self, used: Iterable[str]) -> list[str]:
        return [print_ast(self.variables[name]) for name in used]

    def _choose_prefix(self) -> str:
        prefix = "representations"
        while any(name.startswith(prefix) for name in self.variables):
            prefix = f"_{prefix}"
        return prefix

    def _build_source(self, branch: Branch, groups: Sequence[FetchGroup]) -> RepresentationSource:
        """Where the entities of a branch are read from, and how."""
        keys = {id(group.inputs[0].selections) for group in groups}
        field_sets = {fields: None for group in groups for fields in group.inputs}
        selections = [(fields.selections, id(fields.selections) in keys) for fields in field_sets]
        return RepresentationSource(
            path=path_to(branch),
            typename=groups[0].view.interface_object
            or (branch.types[0] if len(branch.types) == 1 else None),
            fields=self._build_fields(branch, selections),
        )

    def _build_fields(
        self, branch: Branch, selections: Sequence[tuple[SelectionSetNode, bool]]
    ) -> tuple[RepresentationField, ...]:
        names = branch.names
        merged: dict[str, tuple[SelectionField, list[tuple[SelectionSetNode, bool]], bool]] = {}
        for selection_set, is_key in selections:
            for node in selected_fields(selection_set, names.all):
                name = node.name.value
                if name == TYPENAME:
                    continue
                wanted = self.tree.input_field(branch, node)
                type_ = self.tree.supergraph.field_type(branch.types[0], name)
                required = is_key or isinstance(type_, GraphQLNonNull)
                _, below, was_required = merged.get(name, (wanted, [], False))
                if node.selection_set:
                    below.append((node.selection_set, is_key))
                merged[name] = (wanted, below, required or was_required)
        return tuple(
            RepresentationField(
                name, wanted.subgraph_key, required, self._build_fields_by_type(wanted, below)
            )
            for name, (wanted, below, required) in merged.items()
        )

    def _build_fields_by_type(
        self, wanted: SelectionField, selections: Sequence[tuple[SelectionSetNode, bool]]
    ) -> Mapping[str, tuple[RepresentationField, ...]] | None:
        if wanted.child is None:
            return None
        if not wanted.child.is_abstract:
            return {"": self._build_fields(wanted.child.branches[0], selections)}
        return {
            name: self._build_fields(branch, selections)
            for branch in wanted.child.branches
            for name in branch.types
        }


def _fetch_key(group: FetchGroup) -> object:
    """Equal for groups that share a fetch. Each root has its own: there is one per subgraph."""
    if not group.inputs:
        return group
    return group.view.subgraph.name, group.depth


def _group_compatible(groups: Iterable[FetchGroup]) -> list[list[FetchGroup]]:
    """The groups of each branch in one list, unless they enter as another type, or need the same
    input with other arguments.
    """
    compatible: list[tuple[list[FetchGroup], dict[str, str]]] = []
    for group in groups:
        needed = dict(_arguments(group.inputs))
        for members, known in compatible:
            first = members[0]
            if (
                first.branch is group.branch
                and first.view.interface_object == group.view.interface_object
                and all(known.get(path, written) == written for path, written in needed.items())
            ):
                members.append(group)
                known.update(needed)
                break
        else:
            compatible.append(([group], needed))
    return [members for members, _ in compatible]


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


def _used_variables(groups: Iterable[FetchGroup]) -> tuple[str, ...]:
    names = {name for group in groups for wanted in group.fields for name in wanted.variables}
    return tuple(sorted(names))


def _print_fragments(fragments: Mapping[str, str]) -> str:
    return "".join(f" fragment {name} {text}" for text, name in fragments.items())
