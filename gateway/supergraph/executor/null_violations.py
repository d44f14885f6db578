"""Where nulls propagate in merged data, and why: looked for once a response had to be cut off."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from graphql import GraphQLList, GraphQLNonNull, GraphQLOutputType, get_named_type

from gateway.supergraph.executor.scalars import is_hidden, scalar_reader
from gateway.supergraph.planner.fetch_nodes import JSON, ResponsePath
from gateway.supergraph.planner.selection_tree import (
    Branch,
    ResponseField,
    ResponsePosition,
    type_name_of,
)
from gateway.supergraph.supergraph import Supergraph
from gateway.supergraph.syntax import TYPENAME

MAX_VIOLATIONS = 1_000
"""How many wrong values are reported; there may be any number of them."""


@dataclass(frozen=True, slots=True)
class NullViolation:
    """A place where the response had to be cut off at a null, and why."""

    path: ResponsePath
    reason: str


def find_violations(
    supergraph: Supergraph, root_type: str, fields: Sequence[ResponseField], data: JSON
) -> list[NullViolation]:
    finder = _Finder(supergraph)
    finder.is_object_null(root_type, fields, data, ())
    return finder.found


def field_type(supergraph: Supergraph, type_name: str, field_name: str) -> GraphQLOutputType:
    found = supergraph.field_type(type_name, field_name)
    assert found is not None
    return found


class _At(NamedTuple):
    """Where a value is: its path, `Type.field`, and its position if it is an object's."""

    path: ResponsePath
    coordinate: str
    position: ResponsePosition | None


class _Finder:
    """Follows a response down to what is null. Each method says whether the value ends up null."""

    def __init__(self, supergraph: Supergraph) -> None:
        self._supergraph = supergraph
        self.found: list[NullViolation] = []

    def is_object_null(
        self, type_name: str, fields: Sequence[ResponseField], data: JSON, path: ResponsePath
    ) -> bool:
        for selected in fields:
            if selected.denied_field:
                type_ = field_type(self._supergraph, type_name, selected.denied_field)
                if isinstance(type_, GraphQLNonNull):
                    return True  # its own error says so
            elif selected.field and not selected.field.name.startswith("__"):
                field = selected.field
                type_ = field_type(self._supergraph, type_name, field.name)
                at = _At((*path, selected.key), f"{type_name}.{field.name}", field.child)
                is_null = self._is_null(type_, data.get(field.subgraph_key), at)
                if is_null and isinstance(type_, GraphQLNonNull):
                    return True
        return False

    def _is_null(self, type_: GraphQLOutputType, value: Any, at: _At) -> bool:
        if isinstance(type_, GraphQLNonNull):
            before = len(self.found)
            is_null = self._is_null(type_.of_type, value, at)
            if is_null and len(self.found) == before:
                self._report(at, f"Cannot return null for non-nullable field {at.coordinate}.")
            return is_null
        if value is None:
            return True
        if isinstance(type_, GraphQLList):
            return self._is_list_null(type_, value, at)
        if at.position is not None:
            return self._is_position_null(at.position, value, at)
        read = scalar_reader(get_named_type(type_), self._supergraph.schema)
        if read is None or read(value) is not None:
            return False
        if not is_hidden(get_named_type(type_), value):
            self._report(at, f"{at.coordinate} should be of the type {type_}, and isn't.")
        return True

    def _is_list_null(self, type_: GraphQLList[Any], value: Any, at: _At) -> bool:
        if not isinstance(value, list):
            return self._report(at, f"{at.coordinate} should be a list, and isn't.")
        items = [
            self._is_null(type_.of_type, item, at._replace(path=(*at.path, i)))
            for i, item in enumerate(value)
            if len(self.found) < MAX_VIOLATIONS
        ]
        return any(items) and isinstance(type_.of_type, GraphQLNonNull)

    def _is_position_null(self, position: ResponsePosition, value: Any, at: _At) -> bool:
        if not isinstance(value, dict):
            return self._report(at, f"{at.coordinate} should be an object, and isn't.")
        branch = _branch_of(position, value)
        name = type_name_of(value) if position.is_abstract else position.type_name
        if name is None and branch:
            name = branch.types[0]
        supergraph = self._supergraph
        if name in supergraph.full_schema.type_map and name not in supergraph.schema.type_map:
            return True  # @inaccessible: that is no error
        if branch is None:
            return self._report(at, f"{at.coordinate} has a type that is not part of the schema.")
        return self.is_object_null(str(name), branch.response_fields, value, at.path)

    def _report(self, at: _At, reason: str) -> bool:
        self.found.append(NullViolation(at.path, reason))
        return True


def _branch_of(position: ResponsePosition, value: JSON) -> Branch | None:
    if not position.is_abstract:
        return position.branches[0]
    typename = value.get(TYPENAME)
    if typename is None:
        return position.untyped_branch
    return next((branch for branch in position.branches if typename in branch.types), None)
