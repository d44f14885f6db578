"""The errors of one answer, told in the client's own terms: its paths, and which service."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import orjson
from graphql import GraphQLInterfaceType, GraphQLList, GraphQLObjectType
from graphql.type import is_wrapping_type

from gateway.supergraph.executor.entities import Batch
from gateway.supergraph.executor.response import Violation
from gateway.supergraph.planner.fetch_nodes import JSON, ClientPath, Place, Request
from gateway.supergraph.planner.query_plan import Denial
from gateway.supergraph.planner.selection_tree import Answered, Branch, Position, type_name_of
from gateway.supergraph.supergraph import Supergraph
from gateway.supergraph.transport.subgraph_response import SubgraphError

Located: TypeAlias = Mapping[int, Sequence[ClientPath]]
"""The raw paths of each object at a place, by its identity."""

MAX_ERRORS = 100
MAX_MESSAGE_CHARS = 1_000
MAX_PASSED_BYTES = 32_000
MAX_INDEX = 2**31 - 1
PASSED: Mapping[str, type] = {"code": str, "hint": str, "problems": list}
"""What is passed on of the extensions of a service's error, unless it is something else or huge."""
NOT_ASKED = {
    "code": "SUBGRAPH_NOT_ASKED",
    "hint": "See the other errors: once what failed is there again, so is this.",
}
DENIED = {
    "code": "UNAUTHORIZED_FIELD_OR_TYPE",
    "hint": "Ask with a token that grants it, or leave the field out.",
}

Refusal: TypeAlias = Callable[[str], JSON]
"""The error (`message`, `extensions`) for a field, `Type.field`, that a caller may not have."""


def plain_refusal(coordinate: str) -> JSON:
    """What can be said without knowing why."""
    return {"message": f"Access to {coordinate!r} is denied.", "extensions": DENIED}


@dataclass(frozen=True, slots=True)
class _Found:
    """A raw path as the client knows it, which may know only the beginning."""

    keys: ClientPath
    is_whole: bool

    def to(self, *below: str | int | None) -> ClientPath:
        """The path to something below, if what is above is known."""
        return (*self.keys, *(key for key in below if key is not None and self.is_whole))


class Reports:
    """Gathers the errors of one answer; bounded, for a service may report any number of them."""

    def __init__(
        self,
        supergraph: Supergraph,
        data: JSON,
        most: int = MAX_ERRORS,
        refusal: Refusal = plain_refusal,
    ) -> None:
        self._supergraph = supergraph
        self._most = most
        self._refusal = refusal
        self._data = data
        self._errors: list[JSON] = []
        self._left_out = 0

    def add(self, message: str, path: ClientPath | None, extensions: JSON) -> None:
        """Keep one error, or only count it."""
        if self._is_full:
            self._left_out += 1
            return
        error: JSON = {"message": message[:MAX_MESSAGE_CHARS]}
        if path:
            error["path"] = list(path)
        self._errors.append(error | {"extensions": extensions})

    @property
    def has_any(self) -> bool:
        """Whether anything was reported yet."""
        return bool(self._errors)

    @property
    def _is_full(self) -> bool:
        return len(self._errors) >= self._most

    def failed(
        self, error: SubgraphError, request: Request, place: Place, targets: Sequence[JSON]
    ) -> None:
        """One error for each field of the client's that a failed request would have filled."""
        extensions = {"code": error.code, "hint": error.hint, "service": request.subgraph}
        for path in self._filled_by(request, place, targets):
            self.add(error.problem, path, extensions)

    def not_asked(self, request: Request, place: Place, targets: Sequence[JSON]) -> None:
        """Say of what a request would have filled that its inputs failed, unless they say so."""
        message = f"The service {request.subgraph!r} was not asked: what it needs is missing."
        for path in self._filled_by(request, place, targets):
            self._add_untold(message, path, NOT_ASKED | {"service": request.subgraph})

    def _filled_by(
        self, request: Request, place: Place, targets: Sequence[JSON]
    ) -> Iterator[ClientPath]:
        """The client's paths of what a request fills of some objects."""
        keys = [
            answered.key
            for answered in place.branch.answer
            if answered.source and _is_fetched_by(answered.source.visits, request)
        ]
        for found in self._paths(place, targets):
            for key in keys or (None,):
                yield found.to(key)

    def denied(self, denial: Denial) -> None:
        """One error for each place where a field would have been that is denied."""
        branch = denial.place.branch
        refusal = cache(self._refusal)
        for item, path in denial.place.find_with_paths(self._data):
            at = self._client_path(_root_of(branch), path)
            type_name = type_name_of(item) or branch.types[0]
            for key, name in denial.fields:
                error = refusal(f"{type_name}.{name}")
                self.add(error["message"], at.to(key), error["extensions"])

    def told(
        self, errors: Sequence[Any], request: Request, place: Place, targets: Sequence[JSON]
    ) -> None:
        """What a service reported beside its data, for each place the data belongs to."""
        if not errors:
            return
        paths = list(self._paths(place, targets))
        for error in self._first(errors):
            message, rest, extensions = _read(error, request.subgraph)
            below = self._client_path(place.branch.position, rest)
            for path in paths:
                self.add(message, path.to(*below.keys), extensions)

    def told_of_entities(
        self, errors: Sequence[Any], request: Request, batches: Sequence[Batch]
    ) -> None:
        """Repeat an entity's error for every object it was fetched for."""
        located: dict[Place, Located] = {}
        for error in self._first(errors):
            message, path, extensions = _read(error, request.subgraph)
            alias, index = (*path[:2], None, None)[:2]
            for batch in batches:
                if alias not in (None, batch.load.alias):
                    continue
                for place, items in batch.targets(index if isinstance(index, int) else None):
                    if place not in located:
                        located[place] = self._locate(place)
                    below = self._client_path(place.branch.position, path[2:])
                    for at in self._paths(place, items, located[place]):
                        self.add(message, at.to(*below.keys), extensions)

    def _first(self, errors: Sequence[Any]) -> Iterator[Any]:
        """As many errors as there is room for; the others are counted, not looked at."""
        for i, error in enumerate(errors):
            if self._is_full:
                self._left_out += len(errors) - i
                return
            yield error

    def violated(self, violations: Iterable[Violation]) -> None:
        """Say why something is null, unless an error at, above or below it says so already."""
        for violation in violations:
            self._add_untold(violation.reason, violation.path, {"code": "NULL_IN_NON_NULL_FIELD"})

    def _add_untold(self, message: str, path: ClientPath, extensions: JSON) -> None:
        if self._is_full or not any(_tells(error, path) for error in self._errors):
            self.add(message, path, extensions)

    def listed(self, data: JSON | None) -> list[JSON]:
        """All errors of the answer with this data; the last one says how many are left out."""
        for error in self._errors:
            if "path" in error:
                error["path"] = _within(data, error["path"])
        if not self._left_out:
            return self._errors
        message = f"{self._left_out} further errors are left out."
        return [*self._errors, {"message": message, "extensions": {"code": "TOO_MANY_ERRORS"}}]

    # Paths

    def _locate(self, place: Place) -> Located:
        located: dict[int, list[ClientPath]] = {}
        for item, path in place.find_with_paths(self._data):
            located.setdefault(id(item), []).append(path)
        return located

    def _paths(
        self, place: Place, targets: Sequence[JSON], located: Located | None = None
    ) -> Iterator["_Found"]:
        """The client's paths of some of the objects at a place."""
        found = self._locate(place) if located is None else located
        root = _root_of(place.branch)
        for target in dict.fromkeys(map(id, targets)):
            for path in found.get(target, ()):
                yield self._client_path(root, path)

    def _client_path(self, position: Position | None, raw: Sequence[Any]) -> "_Found":
        """A raw path as the client knows it. It ends where only the plan asked for more, and
        where it says something that can't be: a service may write there what it likes.
        """
        path: list[str | int] = []
        lists = 0
        for segment in raw:
            if lists and type(segment) is int and 0 <= segment <= MAX_INDEX:
                path.append(segment)
                lists -= 1
                continue
            answered = _answered_as(position, segment) if not lists else None
            if answered is None or answered.source is None:
                return _Found(tuple(path), is_whole=False)
            path.append(answered.key)
            position = answered.source.child
            lists = self._list_depth(answered.source.branch.types[0], answered.source.name)
        return _Found(tuple(path), is_whole=not lists)  # an object may stand where a list should

    def _list_depth(self, type_name: str, field_name: str) -> int:
        type_ = self._supergraph.full_schema.type_map[type_name]
        assert isinstance(type_, GraphQLObjectType | GraphQLInterfaceType)
        field = type_.fields.get(field_name)
        returned: Any = field.type if field else None
        depth = 0
        while is_wrapping_type(returned):
            depth += isinstance(returned, GraphQLList)
            returned = returned.of_type
        return depth


def _tells(error: JSON, path: ClientPath) -> bool:
    """Whether an error is about something at, above or below a path."""
    shared = zip(error.get("path", ()), path, strict=False)
    return all(known == new for known, new in shared)


def _is_fetched_by(visits: Sequence[Any], request: Request) -> bool:
    return any(visit.subgraph.name == request.subgraph for visit in visits)


def _read(error: Any, subgraph: str) -> tuple[str, Sequence[Any], JSON]:
    """Message, raw path and extensions of an error as a subgraph wrote it."""
    written = error if isinstance(error, dict) else {}
    message, path = written.get("message"), written.get("path")
    if not isinstance(message, str):
        message = "The service reported an error."
    inner = written.get("extensions")
    inner = inner if isinstance(inner, dict) else {}
    passed = {
        key: inner[key]
        for key, kind in PASSED.items()
        if isinstance(inner.get(key), kind) and len(orjson.dumps(inner[key])) <= MAX_PASSED_BYTES
    }
    return (
        message,
        path if isinstance(path, list) else (),
        {"code": "SUBGRAPH_ERROR"} | passed | {"service": subgraph},
    )


def _within(data: Any, path: Sequence[str | int]) -> list[str | int]:
    """A path as far as it leads through the data; below a null, nobody can tell."""
    for i, key in enumerate(path):
        if data is None:
            break
        if isinstance(data, list) and isinstance(key, int) and key >= len(data):
            return list(path[:i])
        data = data[key]
    return list(path)


def _root_of(branch: Branch) -> Position:
    position = branch.position
    while position.parent is not None:
        position = position.parent.branch.position
    return position


def _answered_as(position: Position | None, raw_key: Any) -> Answered | None:
    for branch in position.branches if position else ():
        for answered in branch.answer:
            if answered.source and answered.source.raw_key == raw_key:
                return answered
    return None
