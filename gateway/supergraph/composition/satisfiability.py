"""Satisfiability: whether all that the supergraph offers can be fetched, on every path to it."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from graphql import FieldNode, is_object_type

from gateway.supergraph.errors import CompositionProblem, Problems
from gateway.supergraph.field_sets import FieldSet
from gateway.supergraph.query_graph import FREE, QueryGraphSearch, Route
from gateway.supergraph.supergraph import (
    QUERY,
    JoinField,
    JoinType,
    Subgraph,
    SubgraphView,
    Supergraph,
    TypeNames,
)
from gateway.supergraph.syntax import ROOTS

Routes: TypeAlias = dict[SubgraphView, Route]
"""The views that are reached; there is a route to each, and here it costs nothing."""
TypeField: TypeAlias = tuple[TypeNames, str]
MAX_STATES = 100_000
"""Far above any real graph; reached only if @provides multiply without end."""


def find_unreachable_fields(supergraph: Supergraph) -> Problems:
    """A problem for every field that some path leads to, but no key leads on to; whatever labels
    of progressive @override are active, none or all or one of them.
    """
    labels = supergraph.labels
    reported: set[str] = set()
    single = [frozenset({label}) for label in sorted(labels)]
    for active in dict.fromkeys((frozenset[str](), labels, *single)):
        for problem in _SatisfiabilityCheck(supergraph.with_labels(active)).find_problems():
            if problem.coordinate not in reported:
                reported.add(problem.coordinate)
                yield problem


class _SatisfiabilityCheck(QueryGraphSearch[TypeNames, SubgraphView, TypeField]):
    """Visits every (object type, views one may have of it) from the root types on."""

    def __init__(self, supergraph: Supergraph) -> None:
        super().__init__(supergraph)
        self._subgraphs = supergraph.subgraphs.values()
        self._visited: set[tuple[str, frozenset[SubgraphView]]] = set()
        self._reported: set[str] = set()
        self._resolving: set[tuple[str, str, str]] = set()
        """What is being resolved: a field that requires itself can't be had."""

    def find_problems(self) -> Problems:
        """A problem for every field that can't be fetched on some path."""
        waiting: list[tuple[TypeNames, Routes, str]] = []
        for root in ROOTS.values():
            if roots := [SubgraphView(s) for s in self._subgraphs if root in s.types]:
                waiting.append((self.supergraph.names[root], dict.fromkeys(roots, FREE), root))
        while waiting and len(self._visited) < MAX_STATES:
            names, views, path = waiting.pop()
            state = (names.name, frozenset(views))
            if state in self._visited:
                continue
            self._visited.add(state)
            reached = self.enter_by_keys(names, views)
            if all(view.interface_object for view in reached):
                yield from self._report_unknown_type(names, views, path)
                continue
            for field_name in self.supergraph.full_schema.type_map[names.name].fields:  # type: ignore[attr-defined]
                coordinate = f"{names.name}.{field_name}"
                field = (names, field_name)
                if not any(True for _ in self.find_resolvers(field, reached)):
                    yield from self._report(coordinate, views, reached, path)
                waiting += [(n, v, coordinate) for n, v in self.follow_field(field, reached)]

    def _report(self, coordinate: str, views: Routes, reached: Routes, path: str) -> Problems:
        if coordinate in self._reported:
            return
        self._reported.add(coordinate)
        type_name, _, field_name = coordinate.partition(".")
        names = self.supergraph.names[type_name]
        here = _subgraph_names(views)
        found = (view.field(names, field_name) for view in reached)
        unmet = next((field.requires for field in found if field and field.requires), None)
        if unmet:
            reason = (
                f"It @requires {unmet.sdl!r}, which can't be had, or can't be brought back by "
                f"a @key, from the {type_name} that {path} returns."
            )
            yield CompositionProblem(
                here, coordinate, reason, f"Give {type_name} a @key that both can use."
            )
            return
        owners = [s.name for s in self._subgraphs if _resolves(s, names, field_name)]
        there, inside = ", ".join(owners), ", ".join(here)
        yield CompositionProblem(
            here,
            coordinate,
            f"It is resolved by {there} only, and can't be reached from the "
            f"{type_name} that {path} returns.",
            f"Give {type_name} a @key in {there} whose fields {inside} has.",
        )

    def _report_unknown_type(self, names: TypeNames, views: Routes, path: str) -> Problems:
        """No subgraph that can be reached knows the type of an interface object."""
        interface = next(view.interface_object for view in views if view.interface_object)
        if path in self._reported:
            return
        self._reported.add(path)
        here = _subgraph_names(views)
        yield CompositionProblem(
            here,
            path,
            f"It returns the @interfaceObject {interface}, and no subgraph that can be reached "
            f"says whether that is of the type {names.name}.",
            f"Give the interface {interface} a @key, in the subgraph that defines it, whose "
            f"fields {', '.join(here)} has.",
        )

    # The query graph, whose places are object types

    def names_of(self, place: TypeNames) -> TypeNames:
        return place

    def view_of(self, node: SubgraphView) -> SubgraphView:
        return node

    def select(self, place: TypeNames, selection: FieldNode) -> TypeField:
        return place, selection.name.value

    def entry_nodes(self, place: TypeNames, routes: Routes) -> list[SubgraphView]:
        reached = {view.subgraph.name for view in routes}
        others = (subgraph for subgraph in self._subgraphs if subgraph.name not in reached)
        return [view for subgraph in others for view in subgraph.views(place)]

    def entry_keys(
        self, place: TypeNames, node: SubgraphView, routes: Routes
    ) -> list[FieldSet] | None:
        """The keys of all types as which the objects may be entered; the query root needs none."""
        if place.name == QUERY:
            return []
        types = self._entry_types(node, node.local_type(place), routes)
        return [key for type_ in types for key in type_.entry_keys or ()] or None

    def _entry_types(
        self, node: SubgraphView, local_type: JoinType, routes: Routes
    ) -> Iterator[JoinType]:
        """The objects' own type, if it is known; else it takes a subgraph that finds their
        interface by a key, and so knows it.
        """
        if node.interface_object or any(view.interface_object is None for view in routes):
            yield local_type
        if node.interface_object:
            return
        for interface in {view.interface_object for view in routes if view.interface_object}:
            found = node.subgraph.types.get(interface)
            if found and not found.is_object and local_type.name in found.possible_types:
                yield found

    def find_entry_route(
        self, place: TypeNames, node: SubgraphView, routes: Routes
    ) -> Route | None:
        return FREE if self.choose_key(place, node, routes) else None

    def find_resolvers(
        self, field: TypeField, routes: Routes
    ) -> Iterator[tuple[SubgraphView, Route]]:
        """The first view that resolves a field: one is enough."""
        names, field_name = field
        for view in routes:
            found = view.field(names, field_name)
            if found and self._has_required(names, view, found, routes):
                yield view, FREE
                return

    def _has_required(
        self, names: TypeNames, view: SubgraphView, found: JoinField, routes: Routes
    ) -> bool:
        """Whether what a field @requires can be had, and brought back to its subgraph by a key."""
        if found.requires is None:
            return True
        resolving = (names.name, found.name, view.subgraph.name)
        if resolving in self._resolving:
            return False
        self._resolving.add(resolving)
        can_enter = any(
            self.route_to_inputs(names, key.selections, routes) is not None
            for key in view.local_type(names).entry_keys or ()
        )
        inputs = found.requires.selections
        is_met = can_enter and self.route_to_inputs(names, inputs, routes) is not None
        self._resolving.discard(resolving)
        return is_met

    def follow_field(
        self, field: TypeField, routes: Routes, resolvers: Sequence[tuple[SubgraphView, Route]] = ()
    ) -> Iterator[tuple[TypeNames, Routes]]:
        names, field_name = field
        below: dict[str, Routes] = {}
        for view in routes:
            if found := view.field(names, field_name):
                for name in self._object_types(found.type_name):
                    if reached := view.follow(names, found, self.supergraph.names[name]):
                        below.setdefault(name, {})[reached] = FREE
        for name, views in below.items():
            yield self.supergraph.names[name], views

    def _object_types(self, type_name: str) -> Iterator[str]:
        """The object types of a type; an interface that nothing implements has none."""
        for name in self.supergraph.possible_types.get(type_name, ()):
            if is_object_type(self.supergraph.full_schema.type_map[name]):
                yield name


def _subgraph_names(views: Routes) -> tuple[str, ...]:
    return tuple(sorted(view.subgraph.name for view in views))


def _resolves(subgraph: Subgraph, names: TypeNames, field_name: str) -> bool:
    found = (local_type.fields.get(field_name) for local_type in subgraph.local_types(names))
    return any(f and not (f.external or f.overridden) for f in found)
