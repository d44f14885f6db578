"""The one tree that all answers are gathered in: what to ask of entities, and merging what came."""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from gateway.supergraph.planner.fetch_nodes import JSON, Load, Place, Source


class Batch:
    """The distinct entities of one load, each with the objects that wait for it."""

    def __init__(self, load: Load, data: JSON) -> None:
        self.load = load
        self.representations: list[JSON] = []
        self.left_out: list[tuple[Source, JSON]] = []
        """Objects of which too little is known to ask for them."""
        self._waiting: list[list[tuple[Source, JSON]]] = []
        known: dict[bytes, int] = {}
        for source in load.sources:
            for item in source.place.find(data):
                representation = source.represent(item)
                if representation is None:
                    self.left_out.append((source, item))
                    continue
                identity = orjson.dumps(representation)
                index = known.setdefault(identity, len(self.representations))
                if index == len(self.representations):
                    self.representations.append(representation)
                    self._waiting.append([])
                self._waiting[index].append((source, item))

    def merge(self, entities: Any, *, has_errors: bool) -> bool:
        """Give each object its entity; False if the entities are not what was asked for."""
        if entities is None:
            return has_errors or not self.representations
        if not isinstance(entities, list) or len(entities) != len(self.representations):
            return False
        for entity, waiting in zip(entities, self._waiting, strict=True):
            if isinstance(entity, dict):
                _share(entity, waiting)
        return True

    def targets(self, index: int | None = None) -> Iterator[tuple[Place, list[JSON]]]:
        """The objects that wait for one entity, or for any, by their place."""
        waiting = self._waiting
        if index is not None and 0 <= index < len(waiting):
            waiting = [waiting[index]]
        yield from by_place(pair for pairs in waiting for pair in pairs)


def by_place(pairs: Iterable[tuple[Source, JSON]]) -> Iterable[tuple[Place, list[JSON]]]:
    """The objects of each source, by where they are."""
    found: dict[int, tuple[Place, list[JSON]]] = {}
    for source, item in pairs:
        found.setdefault(id(source), (source.place, []))[1].append(item)
    return found.values()


def _share(entity: JSON, waiting: list[tuple[Source, JSON]]) -> None:
    """Merge an entity into all objects that wait for it. Objects of one place may share what
    is inside; another place gets a copy, for its plan may add other things to it.
    """
    owned = {id(waiting[0][0]): entity}
    for source, item in waiting:
        own = owned.get(id(source))
        if own is None:
            own = owned[id(source)] = orjson.loads(orjson.dumps(entity))
        merge(item, own)


def merge(target: JSON, source: JSON) -> None:
    """Add what `source` knows to `target`; what both know as objects is merged inside."""
    for key, value in source.items():
        known = target.get(key)
        if known is None:
            target[key] = value
        elif isinstance(known, dict) and isinstance(value, dict) and known is not value:
            merge(known, value)
        elif isinstance(known, list) and isinstance(value, list) and known is not value:
            _merge_lists(known, value)


def _merge_lists(target: list[Any], source: list[Any]) -> None:
    for i, (known, value) in enumerate(zip(target, source, strict=False)):
        if known is None:
            target[i] = value
        elif isinstance(known, dict) and isinstance(value, dict):
            merge(known, value)
        elif isinstance(known, list) and isinstance(value, list):
            _merge_lists(known, value)
