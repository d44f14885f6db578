"""The query graph: from which objects of which subgraphs which others can be had.

A *node* is a subgraph's view of the objects at some place. From nodes one has, *fields* lead to
nodes of what they return, and *keys* to nodes of other subgraphs at the same place; a key, and a
field with @requires, takes inputs that must be had from the nodes before. A *route* to a node is
the set of nodes that still have to be opened for it.

Composition asks whether there is a route at all (`satisfiability`), planning for the one that opens
the fewest nodes (`path_finder`): one search, over types and over positions of a response.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from graphql import FieldNode, SelectionSetNode

from gateway.supergraph.field_sets import FieldSet, selected_fields
from gateway.supergraph.supergraph import SubgraphView, Supergraph, TypeNames
from gateway.supergraph.syntax import TYPENAME

Place = TypeVar("Place")
Node = TypeVar("Node")
Field = TypeVar("Field")

Route: TypeAlias = frozenset[Any]
Routes: TypeAlias = dict[Node, Route]
FREE: Route = frozenset()
"""The route to what is open already."""


class QueryGraphSearch(ABC, Generic[Place, Node, Field]):
    """Finds what can be had from nodes that are reached already, each with its cheapest route."""

    def __init__(self, supergraph: Supergraph) -> None:
        self.supergraph = supergraph
        self._entering: set[tuple[str, SubgraphView]] = set()
        """What is being entered: keys of two types may hold objects of each other's."""

    @abstractmethod
    def names_of(self, place: Place) -> TypeNames:
        """The type of the objects at a place."""

    @abstractmethod
    def view_of(self, node: Node) -> SubgraphView:
        """The view of its objects that a node has."""

    @abstractmethod
    def entry_nodes(self, place: Place, routes: Routes[Node]) -> Iterable[Node]:
        """The nodes at a place that keys may lead to."""

    @abstractmethod
    def entry_keys(self, place: Place, node: Node, routes: Routes[Node]) -> list[FieldSet] | None:
        """The keys that lead to a node: none at all, or an empty list if it takes none."""

    @abstractmethod
    def find_entry_route(self, place: Place, node: Node, routes: Routes[Node]) -> Route | None:
        """The cheapest route into a node over any of its keys; None if there is none."""

    @abstractmethod
    def select(self, place: Place, selection: FieldNode) -> Field:
        """The field at a place that a field set selects."""

    @abstractmethod
    def find_resolvers(self, field: Field, routes: Routes[Node]) -> Iterator[tuple[Node, Route]]:
        """Nodes that can resolve a field, with the routes to them."""

    @abstractmethod
    def follow_field(
        self, field: Field, routes: Routes[Node], resolvers: Sequence[tuple[Node, Route]]
    ) -> Iterator[tuple[Place, Routes[Node]]]:
        """The places behind a field, with the nodes that it leads to there."""

    def enter_by_keys(self, place: Place, routes: Routes[Node]) -> Routes[Node]:
        """Add the nodes that keys lead to, over the cheapest routes."""
        routes = dict(routes)
        improved = bool(routes)
        while improved:
            improved = False
            for node in self.entry_nodes(place, routes):
                known = routes.get(node)
                route = None if known == FREE else self.find_entry_route(place, node, routes)
                if route is not None and (known is None or len(route) < len(known)):
                    routes[node] = route
                    improved = True
        return routes

    def choose_key(
        self, place: Place, node: Node, routes: Routes[Node]
    ) -> tuple[FieldSet | None, Route] | None:
        """The key to enter a node by, None at the query root, which takes none; and what has to be
        opened to know it. None if no key can be known.
        """
        keys = self.entry_keys(place, node, routes)
        if keys is None:
            return None
        if not keys:
            return None, FREE
        entered = (self.names_of(place).name, self.view_of(node))
        if entered in self._entering:
            return None
        self._entering.add(entered)
        choices = [(key, self.route_to_inputs(place, key.selections, routes)) for key in keys]
        self._entering.discard(entered)
        known = [(key, route) for key, route in choices if route is not None]
        return min(known, key=lambda choice: len(choice[1]), default=None)

    def route_to_inputs(
        self, place: Place, selections: SelectionSetNode, routes: Routes[Node]
    ) -> Route | None:
        """What has to be opened to know the fields of a field set; None if they can't be known."""
        total = FREE
        for selection in selected_fields(selections, self.names_of(place).all):
            if selection.name.value == TYPENAME:
                continue  # every object has it
            field = self.select(place, selection)
            resolvers = list(self.find_resolvers(field, routes))
            if not resolvers:
                return None
            if not selection.selection_set:
                total |= min((route for _, route in resolvers), key=len)
                continue
            for below, reached in self.follow_field(field, routes, resolvers):
                route = self._route_to_inputs_below(below, selection.selection_set, reached)
                if route is None:
                    return None
                total |= route
        return total

    def _route_to_inputs_below(
        self, place: Place, selections: SelectionSetNode, routes: Routes[Node]
    ) -> Route | None:
        """The same inside a field. Keys are followed only where they must be: each key that holds
        objects would open as many ways again.
        """
        if not routes:
            return FREE  # no object is ever there
        route = self.route_to_typed_inputs(place, selections, routes)
        if route is not None:
            return route
        return self.route_to_typed_inputs(place, selections, self.enter_by_keys(place, routes))

    def route_to_typed_inputs(
        self, place: Place, selections: SelectionSetNode, routes: Routes[Node]
    ) -> Route | None:
        """The same, and what has to be opened to know the types that the inputs depend on."""
        return self.route_to_inputs(place, selections, routes)
