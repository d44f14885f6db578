"""Check that whatever the supergraph offers can be fetched, along every path to it."""

from collections.abc import Iterator
from typing import TypeAlias

from graphql import SelectionSetNode

from gateway.supergraph.errors import Problem
from gateway.supergraph.joins import (
    Standpoint,
    Supergraph,
    named_type,
    selected_fields,
)

Stands: TypeAlias = frozenset[Standpoint]
MAX_STATES = 100_000
"""Far above any real graph; reached only if @provides multiply without end."""


def unreachable_fields(supergraph: Supergraph) -> Iterator[Problem]:
    """A problem for every field that some path leads to, but no key leads on to."""
    return _Walk(supergraph).problems()


class _Walk:
    """Walks every (object type, standpoints one may have there) from the root types on."""

    def __init__(self, supergraph: Supergraph) -> None:
        self._supergraph = supergraph
        self._subgraphs = supergraph.subgraphs.values()
        self._seen: set[tuple[str, Stands]] = set()
        self._reported: set[str] = set()

    def problems(self) -> Iterator[Problem]:
        waiting: list[tuple[str, Stands, str]] = []
        for root in ("Query", "Mutation", "Subscription"):
            stands = frozenset(Standpoint(s) for s in self._subgraphs if root in s.types)
            if stands:
                waiting.append((root, stands, root))
        while waiting and len(self._seen) < MAX_STATES:
            type_name, stands, path = waiting.pop()
            if (type_name, stands) in self._seen:
                continue
            self._seen.add((type_name, stands))
            reached = self._close(type_name, stands)
            for field_name in self._supergraph.whole.type_map[type_name].fields:  # type: ignore[attr-defined]
                coordinate = f"{type_name}.{field_name}"
                found = list(self._beyond(type_name, reached, field_name))
                if not self._gives(type_name, reached, field_name):
                    yield from self._report(coordinate, stands, path)
                waiting += [(name, below, coordinate) for name, below in found]

    def _report(self, coordinate: str, stands: Stands, path: str) -> Iterator[Problem]:
        if coordinate in self._reported:
            return
        self._reported.add(coordinate)
        type_name, _, field_name = coordinate.partition(".")
        here = tuple(sorted(stand.subgraph.name for stand in stands))
        owners = sorted(
            s.name for s in self._subgraphs if field_name in _fields_of(s.types.get(type_name))
        )
        yield Problem(
            here,
            coordinate,
            f"It is resolved by {', '.join(owners)} only, and can't be reached from the "
            f"{type_name} that {path} returns.",
            f"Give {type_name} a @key in {', '.join(owners)} whose fields {', '.join(here)} has.",
        )

    def _gives(self, type_name: str, stands: Stands, field_name: str) -> bool:
        names = self._supergraph.names[type_name]
        return any(stand.field(names, field_name) for stand in stands)

    def _beyond(
        self, type_name: str, stands: Stands, field_name: str
    ) -> Iterator[tuple[str, Stands]]:
        """The object types behind a field, with where one may stand there."""
        names = self._supergraph.names[type_name]
        below: dict[str, set[Standpoint]] = {}
        for stand in stands:
            if found := stand.field(names, field_name):
                returned = stand.subgraph.types.get(named_type(found.type))
                for name in returned.possible if returned else ():
                    below.setdefault(name, set()).add(stand.beyond(names, found))
        for name, points in below.items():
            yield name, frozenset(points)

    def _close(self, type_name: str, stands: Stands) -> Stands:
        """All standpoints that keys lead to from the given ones."""
        reached = set(stands)
        grown = True
        while grown:
            grown = False
            inside = {stand.subgraph.name for stand in reached}
            for subgraph in self._subgraphs:
                if subgraph.name not in inside and self._can_enter(
                    type_name, subgraph.name, frozenset(reached)
                ):
                    reached.add(Standpoint(subgraph))
                    grown = True
        return frozenset(reached)

    def _can_enter(self, type_name: str, subgraph: str, reached: Stands) -> bool:
        type_ = self._supergraph.subgraphs[subgraph].types.get(type_name)
        if type_ is None:
            return False
        if type_name == "Query":
            return True
        return any(
            key.resolvable and self._can_select(type_name, reached, key.fields.selections)
            for key in type_.keys
        )

    def _can_select(self, type_name: str, stands: Stands, selections: SelectionSetNode) -> bool:
        names = self._supergraph.names[type_name]
        for selected in selected_fields(selections, names.all):
            if not self._gives(type_name, stands, selected.name.value):
                return False
            if selected.selection_set:
                for name, below in self._beyond(type_name, stands, selected.name.value):
                    if not self._can_select(name, self._close(name, below), selected.selection_set):
                        return False
        return True


def _fields_of(type_: object) -> dict[str, object]:
    return {
        name: field
        for name, field in getattr(type_, "fields", {}).items()
        if not (field.external or field.overridden)
    }
