"""Entities: which to fetch, and merging what comes into the one tree of all data."""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from gateway.supergraph.planner.fetch_nodes import (
    JSON,
    EntityFetch,
    QueryPath,
    RepresentationSource,
)


class EntityBatch:
    """The distinct entities of one entity fetch, each with the objects that wait for it."""

    def __init__(self, entity_fetch: EntityFetch, data: JSON) -> None:
        self.entity_fetch = entity_fetch
        self.representations: list[JSON] = []
        self.incomplete: list[tuple[RepresentationSource, JSON]] = []
        """Objects that can't be represented, since inputs are missing."""
        self._waiting: list[list[tuple[RepresentationSource, JSON]]] = []
        known: dict[bytes, int] = {}
        for source in entity_fetch.sources:
            for item in source.path.find(data):
                representation = source.represent(item)
                if representation is None:
                    self.incomplete.append((source, item))
                    continue
                identity = orjson.dumps(representation)
                index = known.setdefault(identity, len(self.representations))
                if index == len(self.representations):
                    self.representations.append(representation)
                    self._waiting.append([])
                self._waiting[index].append((source, item))

    def merge(self, entities: Any, *, has_errors: bool) -> bool:
        """Give each object its entity; False if the entities are not those represented."""
        if entities is None:
            return has_errors or not self.representations
        if not isinstance(entities, list) or len(entities) != len(self.representations):
            return False
        for entity, waiting in zip(entities, self._waiting, strict=True):
            if isinstance(entity, dict):
                _merge_into_all(entity, waiting)
        return True

    def targets(self, index: int | None = None) -> Iterator[tuple[QueryPath, list[JSON]]]:
        """The objects that wait for one entity, or for any, by their path."""
        waiting = self._waiting
        if index is not None and 0 <= index < len(waiting):
            waiting = [waiting[index]]
        yield from group_by_path(pair for pairs in waiting for pair in pairs)


def group_by_path(
    pairs: Iterable[tuple[RepresentationSource, JSON]],
) -> Iterable[tuple[QueryPath, list[JSON]]]:
    found: dict[int, tuple[QueryPath, list[JSON]]] = {}
    for source, item in pairs:
        found.setdefault(id(source), (source.path, []))[1].append(item)
    return found.values()


def _merge_into_all(entity: JSON, waiting: list[tuple[RepresentationSource, JSON]]) -> None:
    """Merge an entity into all objects that wait for it. Objects of one path may share what is
    inside; another path gets a copy, for its plan may add other things to it.
    """
    owned = {id(waiting[0][0]): entity}
    for source, item in waiting:
        own = owned.get(id(source))
        if own is None:
            own = owned[id(source)] = orjson.loads(orjson.dumps(entity))
        merge(item, own)


def merge(target: JSON, source: JSON) -> None:
    """Add what `source` has to `target`; what both have as objects is merged inside."""
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
