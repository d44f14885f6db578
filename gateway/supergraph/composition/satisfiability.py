"""Check that whatever the supergraph offers can be fetched, along every path to it."""

from collections.abc import Iterator
from typing import TypeAlias

from graphql import SelectionSetNode, is_object_type

from gateway.supergraph.errors import CompositionProblem
from gateway.supergraph.field_sets import selected_fields
from gateway.supergraph.planner.selection_tree import TYPENAME
from gateway.supergraph.supergraph import (
    JoinField,
    JoinType,
    Subgraph,
    SubgraphView,
    Supergraph,
    TypeNames,
)
from gateway.supergraph.syntax import ROOTS

Stands: TypeAlias = frozenset[SubgraphView]
MAX_STATES = 100_000
"""Far above any real graph; reached only if @provides multiply without end."""


def find_unreachable_fields(supergraph: Supergraph) -> Iterator[CompositionProblem]:
    """A problem for every field that some path leads to, but no key leads on to; whatever labels
    of progressive @override are active, none or all or one of them.
    """
    labels = supergraph.labels
    reported: set[str] = set()
    single = [frozenset({label}) for label in sorted(labels)]
    for active in dict.fromkeys((frozenset[str](), labels, *single)):
        for problem in _Walk(supergraph.with_labels(active)).problems():
            if problem.coordinate not in reported:
                reported.add(problem.coordinate)
                yield problem


class _Walk:
    """Walks every (object type, standpoints one may have there) from the root types on."""

    def __init__(self, supergraph: Supergraph) -> None:
        self._supergraph = supergraph
        self._subgraphs = supergraph.subgraphs.values()
        self._seen: set[tuple[str, Stands]] = set()
        self._reported: set[str] = set()
        self._requiring: set[tuple[str, str, str]] = set()
        """What is being looked into: a field that requires itself can't be had."""
        self._entering: set[tuple[str, str]] = set()
        """What is being entered: keys of two types may hold objects of each other's."""

    def problems(self) -> Iterator[CompositionProblem]:
        waiting: list[tuple[str, Stands, str]] = []
        for root in ROOTS.values():
            views = frozenset(SubgraphView(s) for s in self._subgraphs if root in s.types)
            if views:
                waiting.append((root, views, root))
        while waiting and len(self._seen) < MAX_STATES:
            type_name, views, path = waiting.pop()
            if (type_name, views) in self._seen:
                continue
            self._seen.add((type_name, views))
            reached = self._close(type_name, views)
            if all(view.interface_object for view in reached):
                yield from self._untold(type_name, views, path)
                continue
            for field_name in self._supergraph.full_schema.type_map[type_name].fields:  # type: ignore[attr-defined]
                coordinate = f"{type_name}.{field_name}"
                found = list(self._beyond(type_name, reached, field_name))
                if not self._gives(type_name, reached, field_name):
                    yield from self._report(coordinate, views, reached, path)
                waiting += [(name, below, coordinate) for name, below in found]

    def _report(
        self, coordinate: str, views: Stands, reached: Stands, path: str
    ) -> Iterator[CompositionProblem]:
        if coordinate in self._reported:
            return
        self._reported.add(coordinate)
        type_name, _, field_name = coordinate.partition(".")
        names = self._supergraph.names[type_name]
        here = tuple(sorted(view.subgraph.name for view in views))
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

    def _untold(self, type_name: str, views: Stands, path: str) -> Iterator[CompositionProblem]:
        """Nobody who can be reached knows the type of an interface object."""
        interface = next(view.interface_object for view in views if view.interface_object)
        if path in self._reported:
            return
        self._reported.add(path)
        here = tuple(sorted(view.subgraph.name for view in views))
        yield CompositionProblem(
            here,
            path,
            f"It returns the @interfaceObject {interface}, and no subgraph that can be reached "
            f"says whether that is of the type {type_name}.",
            f"Give the interface {interface} a @key, in the subgraph that defines it, whose "
            f"fields {', '.join(here)} has.",
        )

    def _gives(self, type_name: str, views: Stands, field_name: str) -> bool:
        names = self._supergraph.names[type_name]
        return any(
            (found := view.field(names, field_name))
            and self._can_require(type_name, views, view, found)
            for view in views
        )

    def _can_require(
        self, type_name: str, views: Stands, view: SubgraphView, found: JoinField
    ) -> bool:
        """Whether what a field @requires can be had, and brought back to its subgraph by a key."""
        if found.requires is None:
            return True
        asked = (type_name, found.name, view.subgraph.name)
        if asked in self._requiring:
            return False
        self._requiring.add(asked)
        local_type = view.interface_object or type_name
        met = self._has_key(type_name, view.subgraph.types[local_type], views) and self._can_select(
            type_name, views, found.requires.selections
        )
        self._requiring.discard(asked)
        return met

    def _beyond(
        self, type_name: str, views: Stands, field_name: str
    ) -> Iterator[tuple[str, Stands]]:
        """The object types behind a field, with where one may stand there."""
        names = self._supergraph.names[type_name]
        below: dict[str, set[SubgraphView]] = {}
        for view in views:
            if found := view.field(names, field_name):
                for name in self._objects(found.type_name):
                    if there := view.follow(names, found, self._supergraph.names[name]):
                        below.setdefault(name, set()).add(there)
        for name, points in below.items():
            yield name, frozenset(points)

    def _objects(self, type_name: str) -> Iterator[str]:
        """The object types of a type; an interface that nothing implements has none."""
        for name in self._supergraph.possible_types.get(type_name, ()):
            if is_object_type(self._supergraph.full_schema.type_map[name]):
                yield name

    def _close(self, type_name: str, views: Stands) -> Stands:
        """All standpoints that keys lead to from the given ones."""
        reached = set(views)
        grown = True
        while grown:
            grown = False
            inside = {view.subgraph.name for view in reached}
            for subgraph in self._subgraphs:
                if subgraph.name not in inside:
                    entered = list(self._enter(type_name, subgraph, frozenset(reached)))
                    reached.update(entered)
                    grown |= bool(entered)
        return frozenset(reached)

    def _enter(self, type_name: str, subgraph: Subgraph, reached: Stands) -> Iterator[SubgraphView]:
        """The standpoint a key of this subgraph leads to."""
        if type_name == "Query":
            if type_name in subgraph.types:
                yield SubgraphView(subgraph)
            return
        asked = (type_name, subgraph.name)
        if asked not in self._entering:
            self._entering.add(asked)
            yield from self._enter_by_key(type_name, subgraph, reached)
            self._entering.discard(asked)

    def _enter_by_key(
        self, type_name: str, subgraph: Subgraph, reached: Stands
    ) -> Iterator[SubgraphView]:
        names = self._supergraph.names[type_name]
        for local_type in subgraph.local_types(names):
            interface_object = local_type.name if local_type.is_interface_object else None
            ways = (
                [local_type] if interface_object else self._ways_in(local_type, subgraph, reached)
            )
            if any(self._has_key(type_name, way, reached) for way in ways):
                yield SubgraphView(subgraph, interface_object=interface_object)

    def _ways_in(
        self, local_type: JoinType, subgraph: Subgraph, reached: Stands
    ) -> Iterator[JoinType]:
        """The types whose keys may be used. Who has only seen an interface object doesn't know
        the type of it; a subgraph that finds the interface by a key tells.
        """
        if any(view.interface_object is None for view in reached):
            yield local_type
        for interface_object in {
            view.interface_object for view in reached if view.interface_object
        }:
            found = subgraph.types.get(interface_object)
            if found and not found.is_object and local_type.name in found.possible_types:
                yield found

    def _has_key(self, type_name: str, way: JoinType, reached: Stands) -> bool:
        return any(
            key.resolvable and self._can_select(type_name, reached, key.fields.selections)
            for key in way.keys
        )

    def _can_select(self, type_name: str, views: Stands, selections: SelectionSetNode) -> bool:
        names = self._supergraph.names[type_name]
        for selected in selected_fields(selections, names.all):
            if selected.name.value == TYPENAME:
                continue  # every object has it
            if not self._gives(type_name, views, selected.name.value):
                return False
            if selected.selection_set:
                for name, below in self._beyond(type_name, views, selected.name.value):
                    if not self._can_select_below(name, below, selected.selection_set):
                        return False
        return True

    def _can_select_below(
        self, type_name: str, views: Stands, selections: SelectionSetNode
    ) -> bool:
        """The same inside a field; keys are followed only where they must be, for they may hold
        objects with keys again.
        """
        return self._can_select(type_name, views, selections) or self._can_select(
            type_name, self._close(type_name, views), selections
        )


def _resolves(subgraph: Subgraph, names: TypeNames, field_name: str) -> bool:
    found = (local_type.fields.get(field_name) for local_type in subgraph.local_types(names))
    return any(f and not (f.external or f.overridden) for f in found)
