"""Shape merged data into the client's response: its fields, its order, its nulls.

The shape of each position is compiled once, into closures over plain values; shaping a response
looks nothing up in the schema. A null in a non-null position propagates to the nearest nullable
one, as the specification says. Where that happened is only worked out, in a second and slower
pass, when it did happen.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from graphql import GraphQLList, GraphQLNonNull, GraphQLOutputType, get_named_type

from gateway.supergraph.executor.null_violations import NullViolation, field_type, find_violations
from gateway.supergraph.executor.scalars import ScalarReader, scalar_reader
from gateway.supergraph.planner.selection_tree import ResponseField, ResponsePosition
from gateway.supergraph.supergraph import Supergraph
from gateway.supergraph.syntax import TYPENAME

JSON: TypeAlias = dict[str, Any]
Completer: TypeAlias = Callable[[Any], Any]
ResponsePath: TypeAlias = tuple[str | int, ...]
UNKNOWN_TYPE = ""
"""Stands for the type of an object of unknown type."""
NOWHERE = ""
"""A subgraph key that no data has."""


class _NullInNonNull(Exception):
    """A null in a non-null position."""


class FieldReader(NamedTuple):
    """How one field of the response is read from the data."""

    key: str
    """The response key."""
    subgraph_key: str
    finish: Completer | None = None
    """How to complete the value; None takes it as it is."""


class ResponseShape:
    """The compiled shape of one operation's response. Not shared between threads: `__call__`
    records in `is_violated` whether a null had to propagate.
    """

    def __init__(
        self, supergraph: Supergraph, root: str, response_fields: Sequence[ResponseField]
    ) -> None:
        self._supergraph = supergraph
        self._root = root
        self._response_fields = tuple(response_fields)
        self.is_violated = False
        self._compiled: dict[ResponsePosition, Completer] = {}
        self._complete = self._compile_object(self._compile_fields(root, response_fields))

    def __call__(self, data: JSON) -> JSON | None:
        """The client's data; None if a null propagated all the way up."""
        self.is_violated = False
        shaped: JSON | None = self._complete(data)
        return shaped

    def find_violations(self, data: JSON) -> list[NullViolation]:
        """Where nulls had to propagate, and why; slow, so only after `is_violated`."""
        return find_violations(self._supergraph, self._root, self._response_fields, data)

    # Compiling

    def _compile_position(self, position: ResponsePosition) -> Completer:
        readers = {
            name: self._compile_fields(name, response_fields)
            for name, response_fields in self._response_fields_by_type(position)
        }
        if not position.is_abstract:
            return self._compile_object(next(iter(readers.values())))
        if untyped := position.untyped_branch:
            visible = [name for name in untyped.types if name in readers]
            if visible:
                readers[UNKNOWN_TYPE] = readers[visible[0]]
        return self._compile_abstract(readers)

    def _compile_fields(
        self, type_name: str, response_fields: Sequence[ResponseField]
    ) -> tuple[FieldReader, ...]:
        return tuple(self._compile_field(type_name, selected) for selected in response_fields)

    def _compile_field(self, type_name: str, selected: ResponseField) -> FieldReader:
        if selected.field:
            subgraph_key = selected.field.subgraph_key
            if selected.field.name.startswith("__"):
                return FieldReader(selected.key, subgraph_key)
            type_ = field_type(self._supergraph, type_name, selected.field.name)
            finish = self._compile_type(type_, selected.field.child)
            return FieldReader(selected.key, subgraph_key, finish)
        if selected.denied_field:
            is_nullable = not isinstance(
                field_type(self._supergraph, type_name, selected.denied_field), GraphQLNonNull
            )
            return FieldReader(
                selected.key, NOWHERE, None if is_nullable else self._compile_non_null(None)
            )
        return FieldReader(selected.key, TYPENAME, _constant(type_name))

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
        read = scalar_reader(get_named_type(type_), self._supergraph.schema)
        return None if read is None else self._compile_scalar(read)

    def _response_fields_by_type(
        self, position: ResponsePosition
    ) -> Iterator[tuple[str, list[ResponseField]]]:
        for branch in position.branches:
            for name in branch.types:
                if name in self._supergraph.schema.type_map:
                    yield name, branch.response_fields

    def _compile_object(self, readers: tuple[FieldReader, ...]) -> Completer:
        def complete(value: Any) -> JSON | None:
            if not isinstance(value, dict):
                return None if value is None else self._nullify()
            try:
                return {
                    key: value.get(raw) if finish is None else finish(value.get(raw))
                    for key, raw, finish in readers
                }
            except _NullInNonNull:
                return None

        return complete

    def _compile_abstract(self, readers_by_type: dict[str, tuple[FieldReader, ...]]) -> Completer:
        completers = {
            name: self._compile_object(readers) for name, readers in readers_by_type.items()
        }

        def complete(value: Any) -> Any:
            if not isinstance(value, dict):
                return None if value is None else self._nullify()
            name = value.get(TYPENAME, UNKNOWN_TYPE)
            finish = completers.get(name) if type(name) is str else None
            return finish(value) if finish else self._nullify()

        return complete

    def _compile_list(self, finish: Completer | None) -> Completer:
        def complete(value: Any) -> Any:
            if not isinstance(value, list):
                return None if value is None else self._nullify()
            if finish is None:
                return value
            try:
                return [finish(item) for item in value]
            except _NullInNonNull:
                return None

        return complete

    def _compile_non_null(self, finish: Completer | None) -> Completer:
        def complete(value: Any) -> Any:
            finished = value if finish is None else finish(value)
            if finished is None:
                self.is_violated = True
                raise _NullInNonNull
            return finished

        return complete

    def _compile_scalar(self, read: ScalarReader) -> Completer:
        def complete(value: Any) -> Any:
            if value is None:
                return None
            found = read(value)
            return self._nullify() if found is None else found

        return complete

    def _nullify(self) -> Any:
        self.is_violated = True
        return None


def _constant(value: str) -> Completer:
    return lambda _: value
