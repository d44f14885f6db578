"""Route every field of an operation the cheapest way through the join graph.

Fields are routed one by one, those with the fewest subgraphs to choose from first, each over the
route that opens the least (see `path_finder`). Opening a node makes it a fetch group: its inputs
are routed in the same way, and their groups come first. At the end the types of interface objects
are fetched, where the response depends on them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from graphql import FieldNode, NameNode, SelectionSetNode

from gateway.supergraph.errors import CannotPlan
from gateway.supergraph.field_sets import FieldSet, selected_fields
from gateway.supergraph.planner.fetch_groups import FetchGroup, QueryGraphNode
from gateway.supergraph.planner.path_finder import (
    PathFinder,
    cheapest_typed_node,
    find_counterpart,
    selects_by_type,
)
from gateway.supergraph.planner.selection_tree import (
    Branch,
    ResponsePosition,
    SelectionField,
    SelectionTree,
)
from gateway.supergraph.query_graph import Route
from gateway.supergraph.syntax import TYPENAME


@dataclass(slots=True)
class FieldRouter:
    """Routes the fields of one tree. `fetch_groups` is the result, in order of opening."""

    tree: SelectionTree
    root_subgraphs: tuple[str, ...] | None = None
    """Where root fields may be fetched; None leaves the choice open."""
    fetch_groups: list[FetchGroup] = field(default_factory=list)
    _paths: PathFinder = field(init=False)

    def __post_init__(self) -> None:
        self._paths = PathFinder(self.tree, self.root_subgraphs, self.fetch_groups)

    def route(self, root: ResponsePosition) -> None:
        """Route everything below `root`; raises CannotPlan if something can't be reached."""
        for wanted in sorted(_leaf_fields(root), key=self._count_resolvers):
            self._fetch(wanted)
        for wanted in _composite_fields(root):
            if not wanted.fetch_groups:
                self._fetch(wanted)
            if wanted.child:
                self._check_joint_resolution(wanted.child)
        if self.tree.supergraph.has_interface_objects:
            self._fetch_types_where_needed(root)

    def _count_resolvers(self, wanted: SelectionField) -> int:
        """How many subgraphs resolve the field without inputs; fields with the fewest go first."""
        views = self._paths.entry_views(wanted.branch)
        found = (self._paths.join_field_of(view, wanted) for view in views)
        return sum(1 for join_field in found if join_field and not join_field.requires)

    def _check_joint_resolution(self, position: ResponsePosition) -> None:
        """Make sure that what is selected of all types at a position can be had for all of them
        from one of the nodes that lead there. Items of two subgraphs' lists are merged by their
        index: that is sound where both know all items, and needless where each knows some.
        """
        parent = position.parent
        if parent is None or len(position.branches) == 1 or len(parent.fetch_groups) <= 1:
            return
        routes = self._paths.find_routes(parent.branch)
        resolvers = list(self._paths.find_resolvers(parent, routes))
        for wanted in list(position.branches[0].fields.values()):  # inputs may be added
            same = [f for b in position.branches if (f := find_counterpart(wanted, b))]
            if not wanted.is_selected or len(same) < len(position.branches):
                continue
            if not any(all(self._paths.can_resolve(r, f) for f in same) for r in resolvers):
                raise _no_resolver(wanted)

    def _fetch(self, wanted: SelectionField) -> FetchGroup | None:
        """Fetch a field where that opens the least; None if its branch never occurs."""
        routes = self._paths.find_routes(wanted.branch)
        if not routes:
            return None
        resolvers = list(self._paths.find_resolvers(wanted, routes))
        if not resolvers:
            raise _no_resolver(wanted)
        node, _ = min(resolvers, key=lambda resolver: _cost(wanted, *resolver))
        group = self._open(node)
        group.include(wanted)
        return group

    def fetch_entity_ids(self, branch: Branch) -> Iterator[SelectionField]:
        """The fields that identify the objects of a branch, fetched where the objects are; of a
        generic branch, those of all types they may have.
        """
        id_fields = self.tree.entity_id_fields
        types = self.tree.supergraph.possible_types[branch.types[0]] if id_fields else ()
        for name in sorted({id_fields[type_name] for type_name in types if type_name in id_fields}):
            selection = FieldNode(name=NameNode(value=name), arguments=())
            wanted = self.tree.input_field(branch, selection)
            if branch.is_generic or not wanted.fetch_groups:
                self._add_where_fetched(wanted)
            if wanted.fetch_groups:
                yield wanted

    def _add_where_fetched(self, wanted: SelectionField) -> None:
        """Fetch a field with its objects, if that costs no fetch of its own; for a generic branch
        where they are interface objects, so that it is there even if their types are not.
        """
        branch = wanted.branch
        opened = [
            (node, route)
            for node, route in self._paths.find_resolvers(wanted, self._paths.find_routes(branch))
            if node.is_fetched and (node.is_untyped or not branch.is_generic)
        ]
        if opened:
            node, _ = min(opened, key=lambda resolver: _cost(wanted, *resolver))
            self._open(node).include(wanted)

    # What types objects have

    def _fetch_types_where_needed(self, root: ResponsePosition) -> None:
        for position in (wanted.child for wanted in _composite_fields(root)):
            assert position is not None
            occurring = [branch for branch in position.branches if self._paths.find_routes(branch)]
            if not position.generics:
                continue
            position.is_untyped = not self.tree.depends_on_types(position)
            for branch in () if position.is_untyped else occurring:
                self._fetch_types(branch)

    def _fetch_types(self, branch: Branch) -> FetchGroup:
        typed_node = cheapest_typed_node(self._paths.find_routes(branch))
        if typed_node is None:
            raise CannotPlan(
                f"No subgraph that can be reached knows which objects are {branch.types[0]} here.",
                hint="Give the interface a resolvable @key where its implementations are defined.",
            )
        return self._open(typed_node)

    def _fetch_types_above(self, branch: Branch) -> Iterator[FetchGroup]:
        """The groups that know which objects lead to a branch, among those of other types."""
        above = branch.position.parent
        while above is not None:
            position = above.branch.position
            if position.generics and len(position.branches) > 1 and not above.branch.is_generic:
                yield self._fetch_types(above.branch)
            above = position.parent

    # Opening

    def _open(self, node: QueryGraphNode) -> FetchGroup:
        if node.fetch_group is None:
            node.fetch_group = self._open_parent(node) if node.parent else self._open_group(node)
        return node.fetch_group

    def _open_parent(self, node: QueryGraphNode) -> FetchGroup:
        assert node.parent is not None
        group = self._open(node.parent)
        if node.parent_field:
            group.include(node.parent_field)
        return group

    def _open_group(self, node: QueryGraphNode) -> FetchGroup:
        inputs = [] if node.is_root else self._choose_inputs(node)
        selections = [fields.selections for fields in inputs]
        dependencies = {group for s in selections for group in self._fetch_inputs(node.branch, s)}
        if not node.is_root and not dependencies:
            dependencies = self._fetch_parent(node.branch)
        if self._paths.needs_type(node):
            dependencies.add(self._fetch_types(node.branch))
        dependencies.update(self._fetch_types_above(node.branch))
        group = FetchGroup(len(self.fetch_groups), node.view, node.branch, inputs, dependencies)
        self.fetch_groups.append(group)
        return group

    def _choose_inputs(self, node: QueryGraphNode) -> list[FieldSet]:
        best = self._paths.choose_key(node.branch, node, self._paths.find_routes(node.branch))
        assert best is not None
        return [fields for fields in (best[0], node.requires) if fields]

    def _fetch_inputs(self, branch: Branch, selections: SelectionSetNode) -> Iterator[FetchGroup]:
        for selection in selected_fields(selections, branch.names.all):
            if selection.name.value == TYPENAME:
                continue
            wanted = self.tree.input_field(branch, selection)
            if wanted.child and selection.selection_set:
                for below in wanted.child.branches:
                    yield from self._fetch_inputs(below, selection.selection_set)
                    if selects_by_type(below, selection.selection_set) and self._paths.find_routes(
                        below
                    ):
                        yield self._fetch_types(below)
            elif group := self._fetch(wanted):
                yield group

    def _fetch_parent(self, branch: Branch) -> set[FetchGroup]:
        """The group that finds the objects of a branch, for an entry that needs no key."""
        parent = branch.position.parent
        group = self._fetch(parent) if parent else None
        return {group} if group else set()


def _no_resolver(wanted: SelectionField) -> CannotPlan:
    return CannotPlan(
        f"No subgraph that can be reached resolves {wanted.branch.types[0]}.{wanted.name} here.",
        hint="Compose the supergraph anew: composition checks that this can't happen.",
    )


def _cost(
    wanted: SelectionField, node: QueryGraphNode, route: Route
) -> tuple[int, bool, int, bool]:
    """Fewest fetches first; then where it is fetched anyway, early, and without a hop."""
    group = node.fetch_group
    is_fetched = group is not None and wanted in group.fields
    return len(route), not is_fetched, group.depth if group else 0, node.parent is None


def _client_fields(position: ResponsePosition) -> list[SelectionField]:
    """What the client selects here; fields that only joins need are routed with these."""
    return [
        response_field.field
        for branch in position.branches
        for response_field in branch.response_fields
        if response_field.field
    ]


def _leaf_fields(position: ResponsePosition) -> Iterator[SelectionField]:
    for wanted in _client_fields(position):
        if wanted.child is None:
            yield wanted
        else:
            yield from _leaf_fields(wanted.child)


def _composite_fields(position: ResponsePosition) -> Iterator[SelectionField]:
    for wanted in _client_fields(position):
        if wanted.child:
            yield wanted
            yield from _composite_fields(wanted.child)
