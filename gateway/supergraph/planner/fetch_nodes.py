"""What a plan fetches: requests ready to be sent, and the places their answers belong to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from gateway.supergraph.planner.selection_tree import TYPENAME, Branch, type_name_of

JSON: TypeAlias = dict[str, Any]
ClientPath: TypeAlias = tuple[str | int, ...]
Types: TypeAlias = frozenset[str | None] | None
"""Some types, or all; None among them takes in objects of which the type is not known."""


@dataclass(frozen=True, slots=True)
class Step:
    """One field on the way from the root to the objects of a branch."""

    types: Types
    """Only objects of these types are followed; None follows all."""
    raw_key: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the gathered data the objects of a branch are."""

    branch: Branch
    steps: tuple[Step, ...]
    types: Types

    def find(self, data: JSON) -> list[JSON]:
        """The objects there, in order, lists looked through."""
        found = [data]
        for step in self.steps:
            following: list[JSON] = []
            for item in _of_types(found, step.types):
                _flatten(item.get(step.raw_key), following)
            found = following
        return list(_of_types(found, self.types))

    def find_with_paths(self, data: JSON) -> list[tuple[JSON, ClientPath]]:
        """The same objects in the same order, with their raw paths."""
        found: list[tuple[JSON, ClientPath]] = [(data, ())]
        for step in self.steps:
            following: list[tuple[JSON, ClientPath]] = []
            for item, path in found:
                if step.types is None or type_name_of(item) in step.types:
                    value = item.get(step.raw_key)
                    _flatten_with_paths(value, (*path, step.raw_key), following)
            found = following
        return [
            (item, path)
            for item, path in found
            if self.types is None or type_name_of(item) in self.types
        ]


def _of_types(items: Iterable[JSON], types: Types) -> Iterable[JSON]:
    if types is None:
        return items
    return [item for item in items if type_name_of(item) in types]


def _flatten(value: Any, into: list[JSON]) -> None:
    if isinstance(value, dict):
        into.append(value)
    elif isinstance(value, list):
        for item in value:
            _flatten(item, into)


def _flatten_with_paths(value: Any, path: ClientPath, into: list[tuple[JSON, ClientPath]]) -> None:
    if isinstance(value, dict):
        into.append((value, path))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _flatten_with_paths(item, (*path, i), into)


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a representation, and the raw key it is read from."""

    name: str
    raw_key: str
    is_required: bool
    below: Mapping[str, tuple["Part", ...]] | None
    """For an object, the parts by its type; the empty name stands for the only type."""


class MissingInput(Exception):
    """A representation can't be made, since an input is not there."""


@dataclass(frozen=True, slots=True)
class Source:
    """Objects of one branch, and how each is represented to the subgraph entered."""

    place: Place
    typename: str | None
    """None where the branch has several types: then the object says which."""
    parts: tuple[Part, ...]

    def represent(self, item: JSON) -> JSON | None:
        """What identifies an object to the subgraph; None if too little is known of it."""
        representation: JSON = {TYPENAME: self.typename or item.get(TYPENAME)}
        try:
            for part in self.parts:
                representation[part.name] = _read(part, item)
        except MissingInput:
            return None
        return representation


def _read(part: Part, item: JSON) -> Any:
    try:
        value = item[part.raw_key]
    except KeyError:
        raise MissingInput from None
    if value is None and part.is_required:
        raise MissingInput
    return value if part.below is None else _read_below(part.below, value)


def _read_below(below: Mapping[str, tuple[Part, ...]], value: Any) -> Any:
    if isinstance(value, list):
        return [_read_below(below, item) for item in value]
    if not isinstance(value, dict):
        return value
    if "" in below:
        return {part.name: _read(part, value) for part in below[""]}
    typename = value.get(TYPENAME)
    if typename is None:
        return {part.name: _read(part, value) for part in next(iter(below.values()))}
    parts = below.get(str(typename), ())
    return {TYPENAME: typename} | {part.name: _read(part, value) for part in parts}


@dataclass(frozen=True, slots=True)
class Load:
    """One `_entities` field of a request: entities of all `sources`, selected alike."""

    alias: str
    variable: str
    sources: tuple[Source, ...]


@dataclass(slots=True, eq=False)
class Request:
    """One HTTP request to a subgraph. With `place`, its data belongs to the objects there; with
    `loads`, each entity belongs to the objects it was represented from.
    """

    subgraph: str
    text: str
    variables: tuple[str, ...]
    place: Place | None
    loads: tuple[Load, ...]
    is_idempotent: bool = True
    """Whether asking again can do no harm: no mutation, and no field tagged `not-idempotent`."""
    is_mutation: bool = False
    waits_for: int = 0
    followers: list["Request"] = field(default_factory=list)
    opening: bytes = b""
    """The body up to its variables."""

    def __post_init__(self) -> None:
        self.opening = b'{"query":' + orjson.dumps(self.text) + b',"variables":'


def place_of(branch: Branch) -> Place:
    """Where the objects of a branch are."""
    steps: list[Step] = []
    position = branch.position
    while position.parent is not None:
        parent = position.parent
        steps.append(Step(_filter(parent.branch), parent.raw_key))
        position = parent.branch.position
    return Place(branch, tuple(reversed(steps)), _filter(branch))


def _filter(branch: Branch) -> Types:
    position = branch.position
    if branch.is_generic or len(position.branches) == 1:
        return None
    return frozenset((*branch.types, None) if branch is position.nameless_branch else branch.types)
