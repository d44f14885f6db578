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
from typing import TypeAlias

from graphql import FieldNode, SelectionSetNode
from graphql.language import InlineFragmentNode

from gateway.supergraph.field_sets import FieldSet
from gateway.supergraph.planner.fetch_groups import FetchGroup, QueryGraphNode
from gateway.supergraph.planner.selection_tree import Branch, SelectionField, SelectionTree
from gateway.supergraph.query_graph import FREE, QueryGraphSearch, Route
from gateway.supergraph.supergraph import JoinField, SubgraphView, TypeNames

Routes: TypeAlias = dict[QueryGraphNode, Route]
Resolver: TypeAlias = tuple[QueryGraphNode, Route]
"""A node that can resolve a field, with the route to it."""


class PathFinder(QueryGraphSearch[Branch, QueryGraphNode, SelectionField]):
    """Finds nodes and routes for one tree; changes nothing but its caches.

    Args:
        root_subgraphs: Where root fields may be fetched; None leaves the choice open.
        fetch_groups: What is opened so far. With each group, routes get shorter.
    """

    def __init__(
        self,
        tree: SelectionTree,
        root_subgraphs: tuple[str, ...] | None,
        fetch_groups: Sequence[FetchGroup],
    ) -> None:
        super().__init__(tree.supergraph)
        self._tree = tree
        self._root_subgraphs = root_subgraphs
        self._fetch_groups = fetch_groups
        self._root_nodes_cache: dict[Branch, list[QueryGraphNode]] = {}
        self._entry_views_cache: dict[Branch, list[SubgraphView]] = {}
        self._entry_nodes_cache: dict[Branch, list[QueryGraphNode]] = {}
        self._requires_nodes: dict[Branch, dict[tuple[SubgraphView, FieldSet], QueryGraphNode]] = {}
        self._resolving: set[SelectionField] = set()
        """What is being resolved: a field that requires itself can't be had."""
        self._routes_cache: dict[Branch, tuple[int, Routes]] = {}

    def find_routes(self, branch: Branch) -> Routes:
        """Every node of a branch with its cheapest route, given what is opened now."""
        known = self._routes_cache.get(branch)
        if known and known[0] == len(self._fetch_groups):
            return known[1]
        parent = branch.position.parent
        if parent is None:
            routes = {node: _root_route(node) for node in self._root_nodes(branch)}
        else:
            resolvers = self.find_resolvers(parent, self.find_routes(parent.branch))
            routes = self.enter_by_keys(branch, self._follow(parent, branch, resolvers))
        self._routes_cache[branch] = (len(self._fetch_groups), routes)
        return routes

    def find_resolvers(self, wanted: SelectionField, routes: Routes) -> Iterator[Resolver]:
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

    def can_resolve(self, resolver: Resolver, wanted: SelectionField) -> bool:
        """Whether one of the nodes that resolve the parent leads on to a field."""
        parent = wanted.branch.position.parent
        assert parent is not None
        routes = self.enter_by_keys(wanted.branch, self._follow(parent, wanted.branch, [resolver]))
        return not routes or any(True for _ in self.find_resolvers(wanted, routes))

    def join_field_of(self, view: SubgraphView, wanted: SelectionField) -> JoinField | None:
        return view.field(wanted.branch.names, wanted.name)

    def _root_nodes(self, branch: Branch) -> list[QueryGraphNode]:
        if branch not in self._root_nodes_cache:
            self._root_nodes_cache[branch] = [
                QueryGraphNode(branch, SubgraphView(subgraph))
                for subgraph in self.supergraph.subgraphs.values()
                if branch.types[0] in subgraph.types
                and (self._root_subgraphs is None or subgraph.name in self._root_subgraphs)
            ]
        return self._root_nodes_cache[branch]

    def _find_requires_resolvers(
        self, wanted: SelectionField, routes: Routes
    ) -> Iterator[Resolver]:
        if wanted.name not in self.supergraph.fields_with_requires or wanted in self._resolving:
            return
        self._resolving.add(wanted)
        for view in self.entry_views(wanted.branch):
            found = self.join_field_of(view, wanted)
            if found and found.requires:
                node = self._requires_node(wanted.branch, view, found.requires)
                if node not in routes:
                    route = self.find_entry_route(wanted.branch, node, routes)
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
        self, field: SelectionField, branch: Branch, resolvers: Iterable[Resolver]
    ) -> Routes:
        """The nodes that a field leads to from those that resolve it; none if objects of these
        types never occur. Subgraphs that share a field mean the same by it, so there can be none
        where one of them returns no such objects.
        """
        routes: Routes = {}
        for parent, route in resolvers:
            child = self._follow_from(parent, field, branch)
            if child:
                routes[child] = route
            elif not branch.is_generic:
                return {}
        if not branch.is_generic:
            interfaces = {view.interface_object for view in (node.view for node in routes)} - {None}
            for interface in sorted(map(str, interfaces)):
                generic = self._tree.generic_branch(branch.position, interface)
                routes |= self._narrow(generic, branch)
        return routes

    def _follow_from(
        self, parent: QueryGraphNode, field: SelectionField, branch: Branch
    ) -> QueryGraphNode | None:
        key = (field, branch)
        if key not in parent.children:
            child = None
            found = self.join_field_of(parent.view, field)
            view = found and parent.view.follow(field.branch.names, found, branch.names)
            if view and (view.interface_object or not branch.is_generic):
                child = QueryGraphNode(branch, view, parent=parent, parent_field=field)
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
            child = QueryGraphNode(branch, parent.view, parent=parent) if local_type else None
            parent.children[key] = child
        return parent.children[key]

    def needs_type(self, node: QueryGraphNode) -> bool:
        """Whether an entity can't be represented, or even picked out, while its type is unknown."""
        position, branch = node.branch.position, node.branch
        if not position.generics or branch.is_generic:
            return False
        has_types = not node.view.interface_object and len(branch.types) > 1
        return len(position.branches) > 1 or has_types

    def entry_views(self, branch: Branch) -> list[SubgraphView]:
        """The views of a branch's objects in every subgraph, whether a key leads there or not."""
        if branch not in self._entry_views_cache:
            self._entry_views_cache[branch] = [
                view
                for subgraph in self.supergraph.subgraphs.values()
                for view in subgraph.views(branch.names)
            ]
        return self._entry_views_cache[branch]

    # The query graph, whose places are branches

    def names_of(self, place: Branch) -> TypeNames:
        return place.names

    def view_of(self, node: QueryGraphNode) -> SubgraphView:
        return node.view

    def select(self, place: Branch, selection: FieldNode) -> SelectionField:
        return self._tree.input_field(place, selection)

    def entry_nodes(self, place: Branch, routes: Routes) -> list[QueryGraphNode]:
        if place not in self._entry_nodes_cache:
            self._entry_nodes_cache[place] = [
                QueryGraphNode(place, view)
                for view in self.entry_views(place)
                if view.local_type(place.names).entry_keys is not None
            ]
        return self._entry_nodes_cache[place]

    def entry_keys(
        self, place: Branch, node: QueryGraphNode, routes: Routes
    ) -> list[FieldSet] | None:
        return node.view.local_type(place.names).entry_keys

    def enter_by_keys(self, place: Branch, routes: Routes) -> Routes:
        """Add the nodes that are open, and those that keys lead to, over the cheapest routes."""
        if not routes:
            return routes
        open_nodes = (
            node for node in self._requires_nodes.get(place, {}).values() if node.fetch_group
        )
        return super().enter_by_keys(place, routes | dict.fromkeys(open_nodes, FREE))

    def follow_field(
        self, field: SelectionField, routes: Routes, resolvers: Sequence[Resolver]
    ) -> Iterator[tuple[Branch, Routes]]:
        assert field.child is not None
        for branch in field.child.branches:
            yield branch, self._follow(field, branch, resolvers)

    def find_entry_route(self, place: Branch, node: QueryGraphNode, routes: Routes) -> Route | None:
        if node.fetch_group:
            return FREE
        best = self.choose_key(place, node, routes)
        if best is None:
            return None
        _, route = best
        if self.needs_type(node):
            typed_node = cheapest_typed_node(routes)
            if typed_node is None:
                return None
            route |= routes[typed_node]
        if node.requires:
            required = self.route_to_inputs(place, node.requires.selections, routes)
            if required is None:
                return None
            route |= required
        return route | {node}

    def route_to_typed_inputs(
        self, place: Branch, selections: SelectionSetNode, routes: Routes
    ) -> Route | None:
        """What has to be opened to know the inputs, and the types they depend on."""
        route = self.route_to_inputs(place, selections, routes)
        if route is None or not selects_by_type(place, selections):
            return route
        typed_node = cheapest_typed_node(routes)
        return route | routes[typed_node] if typed_node else None


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
        find_counterpart(wanted, branch)
        for branch in wanted.branch.position.branches
        if view.interface_object in branch.names.all
    )


def find_counterpart(wanted: SelectionField, branch: Branch) -> SelectionField | None:
    """The field of a branch that selects the same as one of another branch."""
    selected = wanted.name, wanted.arguments
    return next((f for f in branch.fields.values() if (f.name, f.arguments) == selected), None)


def _root_route(node: QueryGraphNode) -> Route:
    return FREE if node.fetch_group else frozenset((node,))
