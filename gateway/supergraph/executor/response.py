"""Shape merged data into the client's response: its fields, its order, its nulls.

The shape of each position is compiled once, into closures over plain values; shaping a response
looks nothing up in the schema. A null in a non-null position propagates to the nearest nullable
one, as the specification says.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from graphql import GraphQLList, GraphQLNonNull, GraphQLOutputType

from gateway.supergraph.executor.scalars import ScalarReader, is_hidden, scalar_reader
from gateway.supergraph.planner.fetch_nodes import JSON, ResponsePath
from gateway.supergraph.planner.selection_tree import ResponseField, ResponsePosition
from gateway.supergraph.supergraph import Supergraph
from gateway.supergraph.syntax import TYPENAME

Completer: TypeAlias = Callable[[Any], Any]
UNKNOWN_TYPE = ""
"""Stands for the type of an object of unknown type."""
NOWHERE = ""
"""A subgraph key that no data has."""
MAX_VIOLATIONS = 1_000
"""How many wrong values are reported; there may be any number of them."""


class _NullInNonNull(Exception):
    """A null in a non-null position."""


@dataclass(frozen=True, slots=True)
class NullViolation:
    """A place where the response had to be cut off at a null, and why."""

    path: ResponsePath
    reason: str


class FieldReader(NamedTuple):
    """How one field of the response is read from the data."""

    key: str
    """The response key."""
    subgraph_key: str
    finish: Completer | None = None
    """How to complete the value; None takes it as it is."""
    coordinate: str = ""


class ResponseShape:
    """The compiled shape of one operation's response. Not shared between threads: `__call__` fills
    `violations`, the places where it had to put a null, and why.
    """

    def __init__(
        self, supergraph: Supergraph, root: str, response_fields: Sequence[ResponseField]
    ) -> None:
        self._supergraph = supergraph
        self.violations: list[NullViolation] = []
        self._path: list[FieldReader | int] = []
        """Where the value is that is being completed."""
        self._compiled: dict[ResponsePosition, Completer] = {}
        self._complete = self._compile_object(self._compile_fields(root, response_fields))

    def __call__(self, data: JSON) -> JSON | None:
        """The client's data; None if a null propagated all the way up."""
        self.violations = []
        self._path.clear()
        shaped: JSON | None = self._complete(data)
        return shaped

    # Compiling

    def _compile_position(self, position: ResponsePosition) -> Completer:
        completers = {
            name: self._compile_object(self._compile_fields(name, response_fields))
            for name, response_fields in self._response_fields_by_type(position)
        }
        if not position.is_abstract:
            return next(iter(completers.values()))
        hidden = self._supergraph.full_schema.type_map.keys() - self._supergraph.schema.type_map
        if untyped := position.untyped_branch:
            visible = [name for name in untyped.types if name in completers]
            if visible:
                completers[UNKNOWN_TYPE] = completers[visible[0]]
            hidden |= {UNKNOWN_TYPE}
        return self._compile_abstract(completers, hidden)

    def _compile_fields(
        self, type_name: str, response_fields: Sequence[ResponseField]
    ) -> tuple[FieldReader, ...]:
        return tuple(self._compile_field(type_name, selected) for selected in response_fields)

    def _compile_field(self, type_name: str, selected: ResponseField) -> FieldReader:
        if selected.field:
            subgraph_key, name = selected.field.subgraph_key, selected.field.name
            if name.startswith("__"):
                return FieldReader(selected.key, subgraph_key)
            finish = self._compile_type(self._type_of(type_name, name), selected.field.child)
            return FieldReader(selected.key, subgraph_key, finish, f"{type_name}.{name}")
        if selected.denied_field:
            type_ = self._type_of(type_name, selected.denied_field)
            finish = _propagate_denial if isinstance(type_, GraphQLNonNull) else None
            return FieldReader(selected.key, NOWHERE, finish)
        return FieldReader(selected.key, TYPENAME, lambda _: type_name)

    def _type_of(self, type_name: str, field_name: str) -> GraphQLOutputType:
        found = self._supergraph.field_type(type_name, field_name)
        assert found is not None
        return found

    def _compile_type(
        self, type_: GraphQLOutputType, child: ResponsePosition | None
    ) -> Completer | None:
        if isinstance(type_, GraphQLNonNull):
            return self._compile_non_null(self._compile_type(type_.of_type, child))
        if isinstance(type_, GraphQLList):
            return self._compile_list(self._compile_type(type_.of_type, child))
        if child is not None:
            if child not in self._compiled:
                self._compiled[child] = self._compile_position(child)
            return self._compiled[child]
        read = scalar_reader(type_, self._supergraph.schema)
        return None if read is None else self._compile_scalar(type_, read)

    def _response_fields_by_type(
        self, position: ResponsePosition
    ) -> Iterator[tuple[str, list[ResponseField]]]:
        for branch in position.branches:
            for name in branch.types:
                if name in self._supergraph.schema.type_map:
                    yield name, branch.response_fields

    def _compile_object(self, readers: tuple[FieldReader, ...]) -> Completer:
        path = self._path

        def complete(value: Any) -> JSON | None:
            if not isinstance(value, dict):
                return None if value is None else self._report("{} should be an object, and isn't.")
            shaped: JSON = {}
            path.append(0)
            try:
                for reader in readers:
                    key, raw, finish, _ = reader
                    if finish is None:
                        shaped[key] = value.get(raw)
                    else:
                        path[-1] = reader
                        shaped[key] = finish(value.get(raw))
            except _NullInNonNull:
                return None
            finally:
                path.pop()
            return shaped

        return complete

    def _compile_abstract(self, completers: dict[str, Completer], hidden: set[str]) -> Completer:
        """`hidden` are the types that clients don't see: an object of one is null without error."""

        def complete(value: Any) -> Any:
            if not isinstance(value, dict):
                return None if value is None else self._report("{} should be an object, and isn't.")
            name = value.get(TYPENAME, UNKNOWN_TYPE)
            finish = completers.get(name) if type(name) is str else None
            if finish is None and not (type(name) is str and name in hidden):
                self._report("{} has a type that is not part of the schema.")
            return finish(value) if finish else None

        return complete

    def _compile_list(self, finish: Completer | None) -> Completer:
        path = self._path

        def complete(value: Any) -> Any:
            if not isinstance(value, list):
                return None if value is None else self._report("{} should be a list, and isn't.")
            if finish is None:
                return value
            shaped: list[Any] | None = []
            path.append(0)
            for i, item in enumerate(value):
                path[-1] = i
                try:
                    finished = finish(item)
                except _NullInNonNull:
                    shaped = None
                    if len(self.violations) >= MAX_VIOLATIONS:
                        break
                if shaped is not None:
                    shaped.append(finished)
            path.pop()
            return shaped

        return complete

    def _compile_non_null(self, finish: Completer | None) -> Completer:
        def complete(value: Any) -> Any:
            finished = value if finish is None else finish(value)
            if finished is None:
                if not self._is_reported():
                    self._report("Cannot return null for non-nullable field {}.")
                raise _NullInNonNull
            return finished

        return complete

    def _compile_scalar(self, type_: Any, read: ScalarReader) -> Completer:
        def complete(value: Any) -> Any:
            if value is None:
                return None
            found = read(value)
            if found is None and not is_hidden(type_, value):
                self._report(f"{{}} should be of the type {type_}, and isn't.")
            return found

        return complete

    # Violations

    def _is_reported(self) -> bool:
        """Whether a violation here or below says already why there is a null."""
        if not self.violations:
            return False
        keys = self._keys()
        return self.violations[-1].path[: len(keys)] == keys

    def _report(self, reason: str) -> Any:
        """Report the value that is being completed, which becomes null; `reason` has {} for its
        coordinate.
        """
        if len(self.violations) < MAX_VIOLATIONS:
            field = next(step for step in reversed(self._path) if isinstance(step, FieldReader))
            self.violations.append(NullViolation(self._keys(), reason.format(field.coordinate)))
        return None

    def _keys(self) -> ResponsePath:
        return tuple(step.key if isinstance(step, FieldReader) else step for step in self._path)


def _propagate_denial(_: Any) -> Any:
    """The null of a denied field in a non-null position, of which its own error says why."""
    raise _NullInNonNull
