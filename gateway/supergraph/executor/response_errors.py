"""The errors of one response, in the client's own terms: its paths, and which service."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import orjson

from gateway.supergraph.executor.entities import EntityBatch
from gateway.supergraph.executor.response import NullViolation
from gateway.supergraph.planner.fetch_nodes import JSON, FetchNode, QueryPath, ResponsePath
from gateway.supergraph.planner.query_plan import DeniedFields
from gateway.supergraph.planner.selection_tree import (
    Branch,
    ResponseField,
    ResponsePosition,
    type_name_of,
)
from gateway.supergraph.supergraph import Supergraph
from gateway.supergraph.transport.subgraph_response import SubgraphError

PathsById: TypeAlias = Mapping[int, Sequence[ResponsePath]]
"""The subgraph paths of each object at a query path, by its identity."""

MAX_ERRORS = 100
MAX_MESSAGE_CHARS = 1_000
MAX_EXTENSION_BYTES = 32_000
MAX_INDEX = 2**31 - 1
PASSED_EXTENSIONS: Mapping[str, type] = {"code": str, "hint": str, "problems": list}
"""The extensions of a service's error that clients get, if they are of this type and not huge."""
INCOMPLETE = {
    "code": "SUBGRAPH_NOT_ASKED",
    "hint": "See the other errors: once what failed works again, so does this.",
}
DENIED_EXTENSIONS = {
    "code": "UNAUTHORIZED_FIELD_OR_TYPE",
    "hint": "Ask with a token that grants it, or leave the field out.",
}

DeniedErrorBuilder: TypeAlias = Callable[[str], JSON]
"""Builds the error (`message`, `extensions`) for a field, `Type.field`, that is denied."""


def default_denied_error(coordinate: str) -> JSON:
    """The error where the reason is not known."""
    return {"message": f"Access to {coordinate!r} is denied.", "extensions": DENIED_EXTENSIONS}


@dataclass(frozen=True, slots=True)
class _ClientPath:
    """A subgraph path as the client knows it, which may know only the beginning."""

    keys: ResponsePath
    is_whole: bool

    def to(self, *below: str | int | None) -> ResponsePath:
        """The path to something below, if what is above is known."""
        return (*self.keys, *(key for key in below if key is not None and self.is_whole))


class ResponseErrors:
    """Collects the errors of one response; bounded, for a service may report any number of them."""

    def __init__(
        self,
        supergraph: Supergraph,
        data: JSON,
        max_errors: int = MAX_ERRORS,
        build_denied: DeniedErrorBuilder = default_denied_error,
    ) -> None:
        self._supergraph = supergraph
        self._max_errors = max_errors
        self._build_denied = build_denied
        self._data = data
        self._errors: list[JSON] = []
        self._left_out = 0

    def add(self, message: str, path: ResponsePath | None, extensions: JSON) -> None:
        if self._is_full:
            self._left_out += 1
            return
        error: JSON = {"message": message[:MAX_MESSAGE_CHARS]}
        if path:
            error["path"] = list(path)
        self._errors.append(error | {"extensions": extensions})

    @property
    def has_any(self) -> bool:
        return bool(self._errors)

    @property
    def _is_full(self) -> bool:
        return len(self._errors) >= self._max_errors

    def add_failure(
        self, error: SubgraphError, fetch: FetchNode, query_path: QueryPath, targets: Sequence[JSON]
    ) -> None:
        """One error for each of the client's fields that a failed fetch would have filled."""
        extensions = {"code": error.code, "hint": error.hint, "service": fetch.subgraph}
        for path in self._client_paths_of_fetch(fetch, query_path, targets):
            self.add(error.problem, path, extensions)

    def add_incomplete(
        self, fetch: FetchNode, query_path: QueryPath, targets: Sequence[JSON]
    ) -> None:
        """One error for each of the client's fields that a fetch would have filled whose inputs are
        missing, unless another error covers it.
        """
        message = f"The service {fetch.subgraph!r} was not called: its inputs are missing."
        for path in self._client_paths_of_fetch(fetch, query_path, targets):
            self._add_unless_covered(message, path, INCOMPLETE | {"service": fetch.subgraph})

    def _client_paths_of_fetch(
        self, fetch: FetchNode, query_path: QueryPath, targets: Sequence[JSON]
    ) -> Iterator[ResponsePath]:
        keys = [
            selected.key
            for selected in query_path.branch.response_fields
            if selected.field and _is_fetched_by(selected.field.fetch_groups, fetch)
        ]
        for found in self._paths(query_path, targets):
            for key in keys or (None,):
                yield found.to(key)

    def add_denied(self, denial: DeniedFields) -> None:
        branch = denial.path.branch
        build_denied = cache(self._build_denied)
        for item, path in denial.path.find_with_paths(self._data):
            at = self._client_path(_root_of(branch), path)
            type_name = type_name_of(item) or branch.types[0]
            for key, name in denial.fields:
                error = build_denied(f"{type_name}.{name}")
                self.add(error["message"], at.to(key), error["extensions"])

    def add_subgraph_errors(
        self,
        response: JSON,
        fetch: FetchNode,
        query_path: QueryPath,
        targets: Sequence[JSON],
    ) -> None:
        """The errors a service reported, for each object its data belongs to.

        Where there is no data at all, as for an argument that does not fit, one without a path
        failed every field of the fetch.
        """
        errors = response.get("errors")
        if not errors:
            return
        is_refused = response.get("data") is None
        paths = list(self._paths(query_path, targets))
        for error in self._take_within_limit(errors):
            message, rest, extensions = _read_error(error, fetch.subgraph)
            if is_refused and not rest:
                for whole in self._client_paths_of_fetch(fetch, query_path, targets):
                    self.add(message, whole, extensions)
                continue
            below = self._client_path(query_path.branch.position, rest)
            for path in paths:
                self.add(message, path.to(*below.keys), extensions)

    def add_entity_errors(
        self, errors: Sequence[Any], fetch: FetchNode, batches: Sequence[EntityBatch]
    ) -> None:
        """Repeat an entity's error for every object it was fetched for."""
        located: dict[QueryPath, PathsById] = {}
        for error in self._take_within_limit(errors):
            message, path, extensions = _read_error(error, fetch.subgraph)
            alias, index = (*path[:2], None, None)[:2]
            for batch in batches:
                if alias not in (None, batch.entity_fetch.alias):
                    continue
                for query_path, items in batch.targets(index if isinstance(index, int) else None):
                    if query_path not in located:
                        located[query_path] = self._locate(query_path)
                    below = self._client_path(query_path.branch.position, path[2:])
                    for at in self._paths(query_path, items, located[query_path]):
                        self.add(message, at.to(*below.keys), extensions)

    def _take_within_limit(self, errors: Sequence[Any]) -> Iterator[Any]:
        """As many errors as there is room for; the others are only counted."""
        for i, error in enumerate(errors):
            if self._is_full:
                self._left_out += len(errors) - i
                return
            yield error

    def add_violations(self, violations: Iterable[NullViolation]) -> None:
        """Why a null propagated, unless an error at, above or below it says so already."""
        for violation in violations:
            self._add_unless_covered(
                violation.reason, violation.path, {"code": "NULL_IN_NON_NULL_FIELD"}
            )

    def _add_unless_covered(self, message: str, path: ResponsePath, extensions: JSON) -> None:
        if self._is_full or not any(_covers(error, path) for error in self._errors):
            self.add(message, path, extensions)

    def collect(self, data: JSON | None) -> list[JSON]:
        """All errors of the response with this data; the last one says how many are left out."""
        for error in self._errors:
            if "path" in error:
                error["path"] = _truncate_path(data, error["path"])
        if not self._left_out:
            return self._errors
        message = f"{self._left_out} further errors are left out."
        return [*self._errors, {"message": message, "extensions": {"code": "TOO_MANY_ERRORS"}}]

    # Paths

    def _locate(self, query_path: QueryPath) -> PathsById:
        located: dict[int, list[ResponsePath]] = {}
        for item, path in query_path.find_with_paths(self._data):
            located.setdefault(id(item), []).append(path)
        return located

    def _paths(
        self, query_path: QueryPath, targets: Sequence[JSON], located: PathsById | None = None
    ) -> Iterator["_ClientPath"]:
        found = self._locate(query_path) if located is None else located
        root = _root_of(query_path.branch)
        for target in dict.fromkeys(map(id, targets)):
            for path in found.get(target, ()):
                yield self._client_path(root, path)

    def _client_path(self, position: ResponsePosition | None, raw: Sequence[Any]) -> "_ClientPath":
        """A subgraph path as the client knows it. It ends where only the plan selected more, and
        where it says something that can't be: a service may write there what it likes.
        """
        path: list[str | int] = []
        lists = 0
        for segment in raw:
            if lists and type(segment) is int and 0 <= segment <= MAX_INDEX:
                path.append(segment)
                lists -= 1
                continue
            selected = _find_response_field(position, segment) if not lists else None
            if selected is None or selected.field is None:
                return _ClientPath(tuple(path), is_whole=False)
            path.append(selected.key)
            position = selected.field.child
            lists = self._supergraph.list_depth(selected.field.branch.types[0], selected.field.name)
        return _ClientPath(
            tuple(path), is_whole=not lists
        )  # an object may stand where a list should


def _covers(error: JSON, path: ResponsePath) -> bool:
    """Whether an error is about something at, above or below a path."""
    shared = zip(error.get("path", ()), path, strict=False)
    return all(known == new for known, new in shared)


def _is_fetched_by(fetch_groups: Sequence[Any], fetch: FetchNode) -> bool:
    return any(group.view.subgraph.name == fetch.subgraph for group in fetch_groups)


def _read_error(error: Any, subgraph: str) -> tuple[str, Sequence[Any], JSON]:
    """Message, subgraph path and extensions of an error as a subgraph wrote it."""
    written = error if isinstance(error, dict) else {}
    message, path = written.get("message"), written.get("path")
    if not isinstance(message, str):
        message = "The service reported an error."
    inner = written.get("extensions")
    inner = inner if isinstance(inner, dict) else {}
    extensions = {
        key: inner[key]
        for key, kind in PASSED_EXTENSIONS.items()
        if isinstance(inner.get(key), kind) and len(orjson.dumps(inner[key])) <= MAX_EXTENSION_BYTES
    }
    return (
        message,
        path if isinstance(path, list) else (),
        {"code": "SUBGRAPH_ERROR"} | extensions | {"service": subgraph},
    )


def _truncate_path(data: Any, path: Sequence[str | int]) -> list[str | int]:
    """A path as far as it leads through the data; below a null, it stays as it is."""
    for i, key in enumerate(path):
        if data is None:
            break
        if isinstance(data, list) and isinstance(key, int) and key >= len(data):
            return list(path[:i])
        data = data[key]
    return list(path)


def _root_of(branch: Branch) -> ResponsePosition:
    position = branch.position
    while position.parent is not None:
        position = position.parent.branch.position
    return position


def _find_response_field(
    position: ResponsePosition | None, subgraph_key: Any
) -> ResponseField | None:
    for branch in position.branches if position else ():
        for selected in branch.response_fields:
            if selected.field and selected.field.subgraph_key == subgraph_key:
                return selected
    return None
