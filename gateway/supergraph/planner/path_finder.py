"""The cheapest path to each field, from what is fetched already.

At each branch there are *nodes*: subgraph views by which its objects can be had. A node is the
root of a subgraph, a field of a parent's node, or an entity entered by a key. A *route* to a node
is the set of nodes that still have to be opened, each costing a fetch; what an opened node (a
*fetch group*) can resolve costs nothing more.

Objects may be found as an interface object, so that their types are not known. They can then be
entered as that interface in a subgraph that knows its implementations: by a node of the generic
branch, which narrows, for nothing, to a node of the branch of each type. Whatever depends on the
type waits for such a node.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from graphql import SelectionSetNode
from graphql.language import InlineFragmentNode

from gateway.supergraph.field_sets import FieldSet, selected_fields
from gateway.supergraph.planner.query_graph import FREE, FetchGroup, QueryGraphNode, Route, Routes
from gateway.supergraph.planner.selection_tree import (
    TYPENAME,
    Branch,
    SelectionField,
    SelectionTree,
)
from gateway.supergraph.supergraph import JoinField, SubgraphView, Supergraph

QUERY = "Query"


@dataclass(slots=True)
class PathFinder:
    """Finds nodes and routes for one tree; changes nothing but its caches."""

    tree: SelectionTree
    root_subgraphs: tuple[str, ...] | None
    """Where root fields may be fetched; None leaves the choice open."""
    fetch_groups: Sequence[FetchGroup]
    """What is opened so far. With each group, routes get shorter."""
    _root_nodes_cache: dict[Branch, list[QueryGraphNode]] = field(default_factory=dict)
    _entry_views_cache: dict[Branch, list[SubgraphView]] = field(default_factory=dict)
    _entry_nodes_cache: dict[Branch, list[QueryGraphNode]] = field(default_factory=dict)
    _requires_nodes: dict[Branch, dict[tuple[SubgraphView, FieldSet], QueryGraphNode]] = field(
        default_factory=dict
    )
    _resolving: set[SelectionField] = field(default_factory=set)
    _entering: set[tuple[str, SubgraphView]] = field(default_factory=set)
    """What is being entered: keys of two types may hold objects of each other's."""
    _routes_cache: dict[Branch, tuple[int, Routes]] = field(default_factory=dict)

    @property
    def _supergraph(self) -> Supergraph:
        return self.tree.supergraph

    def find_routes(self, branch: Branch) -> Routes:
        """Every node of a branch with its cheapest route, given what is opened now."""
        known = self._routes_cache.get(branch)
        if known and known[0] == len(self.fetch_groups):
            return known[1]
        parent = branch.position.parent
        if parent is None:
            routes = {node: _root_route(node) for node in self._root_nodes(branch)}
        else:
            options = self.find_resolvers(parent, self.find_routes(parent.branch))
            routes = self._enter_by_keys(branch, self._follow(parent, branch, options))
        self._routes_cache[branch] = (len(self.fetch_groups), routes)
        return routes

    def find_resolvers(
        self, wanted: SelectionField, routes: Routes
    ) -> Iterator[tuple[QueryGraphNode, Route]]:
        """The nodes that can resolve a field, with the routes to them."""
        for node, route in routes.items():
            found = self.join_field_of(node.view, wanted)
            if (
                found
                and (not found.requires or node.requires == found.requires)
                and (not node.is_untyped or _is_selected_of_all(wanted, node.view))
            ):
                yield node, route
        yield from self._find_requires_resolvers(wanted, routes)

    def can_resolve(self, option: tuple[QueryGraphNode, Route], wanted: SelectionField) -> bool:
        """Whether one of the nodes of the parent leads on to a field."""
        parent = wanted.branch.position.parent
        assert parent is not None
        nodes = self._enter_by_keys(wanted.branch, self._follow(parent, wanted.branch, [option]))
        return not nodes or any(True for _ in self.find_resolvers(wanted, nodes))

    def join_field_of(self, view: SubgraphView, wanted: SelectionField) -> JoinField | None:
        """The field as a view resolves it, if it does."""
        return view.field(wanted.branch.names, wanted.name)

    def entry_views(self, branch: Branch) -> list[SubgraphView]:
        """The views of a branch's objects in every subgraph, whether a key leads there or not."""
        if branch not in self._entry_views_cache:
            self._entry_views_cache[branch] = [
                SubgraphView(
                    subgraph,
                    interface_object=local_type.name if local_type.is_interface_object else None,
                )
                for subgraph in self._supergraph.subgraphs.values()
                for local_type in subgraph.local_types(branch.names)
            ]
        return self._entry_views_cache[branch]

    def _root_nodes(self, branch: Branch) -> list[QueryGraphNode]:
        if branch not in self._root_nodes_cache:
            self._root_nodes_cache[branch] = [
                QueryGraphNode(branch, SubgraphView(subgraph))
                for subgraph in self._supergraph.subgraphs.values()
                if branch.types[0] in subgraph.types
                and (self.root_subgraphs is None or subgraph.name in self.root_subgraphs)
            ]
        return self._root_nodes_cache[branch]

    def _find_requires_resolvers(
        self, wanted: SelectionField, routes: Routes
    ) -> Iterator[tuple[QueryGraphNode, Route]]:
        if wanted.name not in self._supergraph.fields_with_requires or wanted in self._resolving:
            return
        self._resolving.add(wanted)
        for view in self.entry_views(wanted.branch):
            found = self.join_field_of(view, wanted)
            if found and found.requires:
                node = self._requires_node(wanted.branch, view, found.requires)
                route = None if node in routes else self._find_entry_route(node, routes)
                if route is not None:
                    yield node, route
        self._resolving.discard(wanted)

    def _requires_node(
        self, branch: Branch, view: SubgraphView, requires: FieldSet
    ) -> QueryGraphNode:
        nodes = self._requires_nodes.setdefault(branch, {})
        if (view, requires) not in nodes:
            nodes[view, requires] = QueryGraphNode(branch, view, requires=requires)
        return nodes[view, requires]

    def _follow(
        self,
        parent_field: SelectionField,
        branch: Branch,
        options: Iterable[tuple[QueryGraphNode, Route]],
    ) -> Routes:
        """The nodes that a field leads to from its own nodes; none if objects of these types
        never occur. Subgraphs that share a field mean the same by it, so there can be none where
        one of them returns no such objects.
        """
        routes: Routes = {}
        for parent, route in options:
            child = self._follow_from(parent, parent_field, branch)
            if child:
                routes[child] = route
            elif not branch.is_generic:
                return {}
        for interface_object in sorted(
            {node.view.interface_object for node in routes if node.view.interface_object}
        ):
            if not branch.is_generic:
                routes |= self._narrow(
                    self.tree.generic_branch(branch.position, interface_object), branch
                )
        return routes

    def _follow_from(
        self, parent: QueryGraphNode, parent_field: SelectionField, branch: Branch
    ) -> QueryGraphNode | None:
        """The node of the objects of `branch` behind a field of `parent`."""
        key = (parent_field, branch)
        if key not in parent.children:
            found = self.join_field_of(parent.view, parent_field)
            view = (
                parent.view.follow(parent_field.branch.names, found, branch.names)
                if found
                else None
            )
            is_there = view and (view.interface_object or not branch.is_generic)
            child = (
                QueryGraphNode(branch, view, parent=parent, parent_field=parent_field)
                if view and is_there
                else None
            )
            parent.children[key] = child
        return parent.children[key]

    def _narrow(self, generic: Branch, branch: Branch) -> Routes:
        """The nodes of a branch within the entities of the generic one."""
        routes: Routes = {}
        for parent, route in self.find_routes(generic).items():
            if parent.parent is None and (node := self._narrow_from(parent, branch)):
                routes[node] = route
        return routes

    def _narrow_from(self, parent: QueryGraphNode, branch: Branch) -> QueryGraphNode | None:
        key = (None, branch)
        if key not in parent.children:
            entered_as = parent.view.interface_object or parent.branch.types[0]
            local_type = parent.view.subgraph.find_local_type(entered_as, branch.names)
            parent.children[key] = (
                QueryGraphNode(branch, parent.view, parent=parent) if local_type else None
            )
        return parent.children[key]

    def _enter_by_keys(self, branch: Branch, followed: Routes) -> Routes:
        """Add the nodes that keys lead to, over the cheapest routes."""
        if not followed:
            return followed
        routes = dict(followed)
        for node in self._requires_nodes.get(branch, {}).values():
            if node.fetch_group:
                routes[node] = FREE
        improved = True
        while improved:
            improved = False
            for entry in self._entry_nodes(branch):
                known = routes.get(entry)
                route = (
                    FREE
                    if entry.fetch_group
                    else None
                    if known == FREE
                    else self._find_entry_route(entry, routes)
                )
                if route is not None and (known is None or len(route) < len(known)):
                    routes[entry] = route
                    improved = True
        return routes

    def _entry_nodes(self, branch: Branch) -> list[QueryGraphNode]:
        if branch not in self._entry_nodes_cache:
            self._entry_nodes_cache[branch] = [
                QueryGraphNode(branch, view)
                for view in self.entry_views(branch)
                if _keys(branch, view) is not None
            ]
        return self._entry_nodes_cache[branch]

    def _find_entry_route(self, node: QueryGraphNode, routes: Routes) -> Route | None:
        """The cheapest route into an entity, over any of its keys; None if there is none."""
        if node.fetch_group:
            return FREE
        best = self.choose_key(node, routes)
        if best is None:
            return None
        _, route = best
        if self.needs_type(node):
            typed_node = cheapest_typed_node(routes)
            if typed_node is None:
                return None
            route |= routes[typed_node]
        if node.requires:
            required = self._route_to_inputs(node.branch, node.requires.selections, routes)
            if required is None:
                return None
            route |= required
        return route | {node}

    def choose_key(
        self, node: QueryGraphNode, routes: Routes
    ) -> tuple[FieldSet | None, Route] | None:
        """The key to enter a node by, None at the query root, which takes none; and what has to be
        opened to know it. None if no key can be known.
        """
        keys = _keys(node.branch, node.view)
        if keys is None:
            return None
        if not keys:
            return None, FREE
        visit_key = (node.branch.types[0], node.view)
        if visit_key in self._entering:
            return None
        self._entering.add(visit_key)
        candidates = [
            (key, self._route_to_inputs(node.branch, key.selections, routes)) for key in keys
        ]
        self._entering.discard(visit_key)
        found = [(key, route) for key, route in candidates if route is not None]
        return min(found, key=lambda choice: len(choice[1]), default=None)

    def _route_to_inputs(
        self, branch: Branch, selections: SelectionSetNode, routes: Routes
    ) -> Route | None:
        """What has to be opened to know these fields; None if they can't be known."""
        total = FREE
        for selection in selected_fields(selections, branch.names.all):
            if selection.name.value == TYPENAME:
                continue
            wanted = self.tree.input_field(branch, selection)
            options = list(self.find_resolvers(wanted, routes))
            if not options:
                return None
            if wanted.child and selection.selection_set:
                for below in wanted.child.branches:
                    followed = self._follow(wanted, below, options)
                    route = self._route_to_inputs_below(below, selection.selection_set, followed)
                    if route is None:
                        return None
                    total |= route
            else:
                total |= min((route for _, route in options), key=len)
        return total

    def _route_to_inputs_below(
        self, branch: Branch, selections: SelectionSetNode, followed: Routes
    ) -> Route | None:
        """The same inside a field. Keys are followed only where they must be: each key that holds
        objects would open as many ways again.
        """
        if not followed:
            return FREE
        route = self._route_to_typed_inputs(branch, selections, followed)
        if route is not None:
            return route
        return self._route_to_typed_inputs(
            branch, selections, self._enter_by_keys(branch, followed)
        )

    def _route_to_typed_inputs(
        self, branch: Branch, selections: SelectionSetNode, routes: Routes
    ) -> Route | None:
        route = self._route_to_inputs(branch, selections, routes)
        if route is None or not selects_by_type(branch, selections):
            return route
        typed_node = cheapest_typed_node(routes)
        return route | routes[typed_node] if typed_node else None

    def needs_type(self, node: QueryGraphNode) -> bool:
        """Whether an entity can't be represented, or even picked out, while its type is unknown."""
        position, branch = node.branch.position, node.branch
        if not position.generics or branch.is_generic:
            return False
        return len(position.branches) > 1 or (
            not node.view.interface_object and len(branch.types) > 1
        )


def _keys(branch: Branch, view: SubgraphView) -> list[FieldSet] | None:
    """The keys by which a subgraph can be entered; the query root needs none."""
    type_ = view.subgraph.types[view.interface_object or branch.types[0]]
    if type_.name != QUERY and not any(key.resolvable for key in type_.keys):
        return None
    return [key.fields for key in type_.keys if key.resolvable]


def selects_by_type(branch: Branch, selections: SelectionSetNode) -> bool:
    """Whether what is selected as an input depends on types that may not be known."""
    return bool(branch.position.generics) and any(
        isinstance(part, InlineFragmentNode) for part in selections.selections
    )


def cheapest_typed_node(routes: Routes) -> QueryGraphNode | None:
    """The cheapest node that knows the types of objects, preferably an open one."""
    typed_nodes = [node for node in routes if node.view.interface_object is None]
    return min(typed_nodes, key=lambda s: (len(routes[s]), s.fetch_group is None), default=None)


def _is_selected_of_all(wanted: SelectionField, view: SubgraphView) -> bool:
    """Whether a field may be fetched of all objects of an interface object: what is selected of
    some types only must not be, for it may fail for the others.
    """
    return not wanted.is_selected or all(
        alike(wanted, branch)
        for branch in wanted.branch.position.branches
        if view.interface_object in branch.names.all
    )


def alike(wanted: SelectionField, branch: Branch) -> SelectionField | None:
    """The field of a branch that selects the same as one of another branch."""
    visit_key = wanted.name, wanted.arguments
    return next((f for f in branch.fields.values() if (f.name, f.arguments) == visit_key), None)


def _root_route(node: QueryGraphNode) -> Route:
    return FREE if node.fetch_group else frozenset((node,))
