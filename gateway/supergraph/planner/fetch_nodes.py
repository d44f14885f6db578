"""What a plan fetches: operations ready to be sent, and the objects their responses belong to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from gateway.supergraph.planner.selection_tree import Branch, type_name_of
from gateway.supergraph.syntax import TYPENAME

JSON: TypeAlias = dict[str, Any]
ResponsePath: TypeAlias = tuple[str | int, ...]
TypeFilter: TypeAlias = frozenset[str | None] | None
"""Some types, or all; None among them includes objects of unknown type."""


@dataclass(frozen=True, slots=True)
class PathStep:
    types: TypeFilter
    """Only objects of these types are followed; None follows all."""
    subgraph_key: str


@dataclass(frozen=True, slots=True)
class QueryPath:
    """Where in the merged data the objects of a branch are."""

    branch: Branch
    steps: tuple[PathStep, ...]
    types: TypeFilter

    def find(self, data: JSON) -> list[JSON]:
        """The objects there, in order, lists looked through."""
        found = [data]
        for step in self.steps:
            following: list[JSON] = []
            for item in _filter_types(found, step.types):
                _flatten(item.get(step.subgraph_key), following)
            found = following
        return list(_filter_types(found, self.types))

    def find_with_paths(self, data: JSON) -> list[tuple[JSON, ResponsePath]]:
        """The same objects in the same order, each with its path."""
        found: list[tuple[JSON, ResponsePath]] = [(data, ())]
        for step in self.steps:
            following: list[tuple[JSON, ResponsePath]] = []
            for item, path in found:
                if step.types is None or type_name_of(item) in step.types:
                    value = item.get(step.subgraph_key)
                    _flatten_with_paths(value, (*path, step.subgraph_key), following)
            found = following
        return [
            (item, path)
            for item, path in found
            if self.types is None or type_name_of(item) in self.types
        ]


def _filter_types(items: Iterable[JSON], types: TypeFilter) -> Iterable[JSON]:
    if types is None:
        return items
    return [item for item in items if type_name_of(item) in types]


def _flatten(value: Any, into: list[JSON]) -> None:
    if isinstance(value, dict):
        into.append(value)
    elif isinstance(value, list):
        for item in value:
            _flatten(item, into)


def _flatten_with_paths(
    value: Any, path: ResponsePath, into: list[tuple[JSON, ResponsePath]]
) -> None:
    if isinstance(value, dict):
        into.append((value, path))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _flatten_with_paths(item, (*path, i), into)


@dataclass(frozen=True, slots=True)
class RepresentationField:
    """One field of a representation, and the subgraph key it is read from."""

    name: str
    subgraph_key: str
    is_required: bool
    fields_by_type: Mapping[str, tuple["RepresentationField", ...]] | None
    """For an object, its fields by its type; the empty name stands for the only type."""


class MissingRepresentationInput(Exception):
    """An object has not all fields that its representation needs."""


@dataclass(frozen=True, slots=True)
class RepresentationSource:
    """Objects of one branch, and how each is represented to the subgraph entered."""

    path: QueryPath
    typename: str | None
    """None where the branch has several types: then the object says which."""
    fields: tuple[RepresentationField, ...]

    def represent(self, item: JSON) -> JSON | None:
        """What identifies an object to the subgraph; None if too little is known of it."""
        representation: JSON = {TYPENAME: self.typename or item.get(TYPENAME)}
        try:
            for field in self.fields:
                representation[field.name] = _read_field(field, item)
        except MissingRepresentationInput:
            return None
        return representation


def _read_field(field: RepresentationField, item: JSON) -> Any:
    try:
        value = item[field.subgraph_key]
    except KeyError:
        raise MissingRepresentationInput from None
    if value is None and field.is_required:
        raise MissingRepresentationInput
    return value if field.fields_by_type is None else _read_object(field.fields_by_type, value)


def _read_object(fields_by_type: Mapping[str, tuple[RepresentationField, ...]], value: Any) -> Any:
    if isinstance(value, list):
        return [_read_object(fields_by_type, item) for item in value]
    if not isinstance(value, dict):
        return value
    if "" in fields_by_type:
        return {field.name: _read_field(field, value) for field in fields_by_type[""]}
    typename = value.get(TYPENAME)
    if typename is None:
        return {
            field.name: _read_field(field, value) for field in next(iter(fields_by_type.values()))
        }
    fields = fields_by_type.get(str(typename), ())
    return {TYPENAME: typename} | {field.name: _read_field(field, value) for field in fields}


@dataclass(frozen=True, slots=True)
class EntityFetch:
    """One `_entities` field of a fetch: entities of all `sources`, selected alike."""

    alias: str
    variable: str
    sources: tuple[RepresentationSource, ...]


@dataclass(slots=True, eq=False)
class FetchNode:
    """One HTTP request to a subgraph. With `path`, its data belongs to the objects there; with
    `entity_fetches`, each entity belongs to the objects it was represented from.
    """

    subgraph: str
    operation: str
    variables: tuple[str, ...]
    path: QueryPath | None
    entity_fetches: tuple[EntityFetch, ...]
    is_idempotent: bool = True
    """Whether sending it twice does no harm: no mutation, and no field tagged `not-idempotent`."""
    is_mutation: bool = False
    dependency_count: int = 0
    dependents: list["FetchNode"] = field(default_factory=list)
    body_start: bytes = b""
    """The body up to its variables."""

    def __post_init__(self) -> None:
        self.body_start = b'{"query":' + orjson.dumps(self.operation) + b',"variables":'


def path_to(branch: Branch) -> QueryPath:
    steps: list[PathStep] = []
    position = branch.position
    while position.parent is not None:
        parent = position.parent
        steps.append(PathStep(_type_filter(parent.branch), parent.subgraph_key))
        position = parent.branch.position
    return QueryPath(branch, tuple(reversed(steps)), _type_filter(branch))


def _type_filter(branch: Branch) -> TypeFilter:
    position = branch.position
    if branch.is_generic or len(position.branches) == 1:
        return None
    is_untyped = branch is position.untyped_branch
    return frozenset((*branch.types, None) if is_untyped else branch.types)
