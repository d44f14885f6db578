"""Shape gathered data into the client's answer: its fields, its order, its nulls.

What a position's answer looks like is compiled once, into closures over plain values; shaping
an answer looks nothing up in the schema. A null where none may be travels up to the nearest
nullable place, as the specification says. Where that happened is only worked out, in a second
and slower pass, when it did happen.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from graphql import (
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    get_named_type,
)

from gateway.supergraph.executor.scalars import Leaf, is_hidden, leaf, plain_type
from gateway.supergraph.planner.selection_tree import (
    TYPENAME,
    Answered,
    Branch,
    Position,
    type_name_of,
)
from gateway.supergraph.supergraph import Supergraph

JSON: TypeAlias = dict[str, Any]
Completer: TypeAlias = Callable[[Any], Any]
ClientPath: TypeAlias = tuple[str | int, ...]
NAMELESS = ""
"""Stands for the type of an object that doesn't say which it has."""
NOWHERE = ""
"""A raw key that no data has."""


MAX_EXPLAINED = 1_000
"""How many wrong values are looked for; there may be any number of them."""
A_FEW = 3
"""From so many plain fields on, looking at all their types at once saves time."""


class _Nulled(Exception):
    """A null stands where none may be."""


class Reader(NamedTuple):
    """How one field of the answer is read from the data."""

    key: str
    """The client's."""
    raw_key: str
    finish: Completer | None = None
    """How to complete the value; None takes it as it is."""
    plain: type | None = None
    """A value of just this type is complete."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A place where the answer had to be cut off at a null."""

    path: ClientPath
    reason: str


class Projection:
    """The compiled shape of one operation's answer. Not shared between threads: `__call__`
    notes in `is_violated` whether a null had to travel.
    """

    def __init__(self, supergraph: Supergraph, root: str, answer: Sequence[Answered]) -> None:
        self._supergraph = supergraph
        self._root = root
        self._answer = tuple(answer)
        self.is_violated = False
        self._compiled: dict[Position, Completer] = {}
        self._complete = self._only(self._readers(root, answer))

    def __call__(self, data: JSON) -> JSON | None:
        """The client's data; None if a null travelled all the way up."""
        self.is_violated = False
        shaped: JSON | None = self._complete(data)
        return shaped

    def violations(self, data: JSON) -> list[Violation]:
        """Where nulls had to travel, and why; slow, so only after `is_violated`."""
        found: list[Violation] = []
        self._explain_object(self._root, self._answer, data, (), found)
        return found

    # Compiling

    def _position(self, position: Position) -> Completer:
        readers = {name: self._readers(name, answer) for name, answer in self._answers(position)}
        if not position.is_abstract:
            return self._only(next(iter(readers.values())))
        if nameless := position.nameless_branch:
            shown = [name for name in nameless.types if name in readers]
            if shown:
                readers[NAMELESS] = readers[shown[0]]
        return self._pick(readers)

    def _readers(self, type_name: str, answer: Sequence[Answered]) -> tuple[Reader, ...]:
        return tuple(self._reader(type_name, answered) for answered in answer)

    def _reader(self, type_name: str, answered: Answered) -> Reader:
        if answered.source:
            raw_key = answered.source.raw_key
            if answered.source.name.startswith("__"):
                return Reader(answered.key, raw_key)
            type_ = self._type_of(type_name, answered)
            finish = self._complete_type(type_, answered.source.child)
            return Reader(answered.key, raw_key, finish, plain_type(type_))
        if answered.denied:
            is_nullable = not isinstance(
                self._field_type(type_name, answered.denied), GraphQLNonNull
            )
            return Reader(answered.key, NOWHERE, None if is_nullable else self._non_null(None))
        return Reader(answered.key, TYPENAME, _constant(type_name))

    def _complete_type(self, type_: GraphQLOutputType, child: Position | None) -> Completer | None:
        if isinstance(type_, GraphQLNonNull):
            return self._non_null(self._complete_type(type_.of_type, child))
        if isinstance(type_, GraphQLList):
            return self._list(self._complete_type(type_.of_type, child))
        if child is not None:
            if child not in self._compiled:
                self._compiled[child] = self._position(child)
            return self._compiled[child]
        read = self._leaf(type_)
        return None if read is None else self._read(read)

    def _answers(self, position: Position) -> Iterator[tuple[str, list[Answered]]]:
        for branch in position.branches:
            for name in branch.types:
                if name in self._supergraph.schema.type_map:
                    yield name, branch.answer

    def _only(self, readers: tuple[Reader, ...]) -> Completer:
        """Objects of one type. Where many fields are plain, the types of all their values are
        compared at once, and only if one differs each field is looked at.
        """
        complete = self._by_field(readers)
        plain = [reader for reader in readers if reader.plain]
        if len(plain) < A_FEW:
            return complete
        template = dict.fromkeys(reader.key for reader in readers)
        keys, types = [reader.key for reader in plain], tuple(reader.plain for reader in plain)
        values_of = itemgetter(*(reader.raw_key for reader in plain))
        rest = tuple(reader for reader in readers if not reader.plain)
        complete_rest = self._by_field(rest) if rest else None

        def complete_at_once(value: Any) -> Any:
            try:
                values = values_of(value)
            except (KeyError, TypeError):  # something is missing, or it is no object at all
                return complete(value)
            if tuple(map(type, values)) != types:
                return complete(value)
            shaped: JSON = template.copy()
            shaped.update(zip(keys, values, strict=True))
            if complete_rest is not None:
                others = complete_rest(value)
                if others is None:
                    return None
                shaped.update(others)
            return shaped

        return complete_at_once

    def _by_field(self, readers: tuple[Reader, ...]) -> Completer:
        parts = [(reader.key, reader.raw_key, reader.finish) for reader in readers]

        def complete(value: Any) -> JSON | None:
            if not isinstance(value, dict):
                return None if value is None else self._cut()
            try:
                return {
                    key: value.get(raw) if finish is None else finish(value.get(raw))
                    for key, raw, finish in parts
                }
            except _Nulled:
                return None

        return complete

    def _pick(self, readers_by_type: dict[str, tuple[Reader, ...]]) -> Completer:
        completers = {name: self._only(readers) for name, readers in readers_by_type.items()}

        def complete(value: Any) -> Any:
            if not isinstance(value, dict):
                return None if value is None else self._cut()
            name = value.get(TYPENAME, NAMELESS)
            finish = completers.get(name) if type(name) is str else None
            return finish(value) if finish else self._cut()

        return complete

    def _list(self, finish: Completer | None) -> Completer:
        def complete(value: Any) -> Any:
            if not isinstance(value, list):
                return None if value is None else self._cut()
            if finish is None:
                return value
            try:
                return [finish(item) for item in value]
            except _Nulled:
                return None

        return complete

    def _non_null(self, finish: Completer | None) -> Completer:
        def complete(value: Any) -> Any:
            finished = value if finish is None else finish(value)
            if finished is None:
                self.is_violated = True
                raise _Nulled
            return finished

        return complete

    def _read(self, read: Leaf) -> Completer:
        def complete(value: Any) -> Any:
            if value is None:
                return None
            found = read(value)
            return self._cut() if found is None else found

        return complete

    def _leaf(self, type_: GraphQLOutputType) -> Leaf | None:
        return leaf(get_named_type(type_), self._supergraph.schema)

    def _cut(self) -> Any:
        self.is_violated = True
        return None

    def _type_of(self, type_name: str, answered: Answered) -> GraphQLOutputType:
        assert answered.source is not None
        return self._field_type(type_name, answered.source.name)

    def _field_type(self, type_name: str, field_name: str) -> GraphQLOutputType:
        type_ = self._supergraph.full_schema.type_map[type_name]
        assert isinstance(type_, GraphQLObjectType | GraphQLInterfaceType)
        field_type: GraphQLOutputType = type_.fields[field_name].type
        return field_type

    # Explaining. Each method returns whether the value ends up null.

    def _explain_object(
        self,
        type_name: str,
        answer: Sequence[Answered],
        data: JSON,
        path: ClientPath,
        found: list[Violation],
    ) -> bool:
        for answered in answer:
            if answered.denied:
                if isinstance(self._field_type(type_name, answered.denied), GraphQLNonNull):
                    return True  # its own error says so
            elif answered.source and not answered.source.name.startswith("__"):
                at = (*path, answered.key)
                type_ = self._type_of(type_name, answered)
                child = answered.source.child
                value = data.get(answered.source.raw_key)
                where = f"{type_name}.{answered.source.name}"
                nulled = self._explain(type_, child, value, at, where, found)
                if nulled and isinstance(type_, GraphQLNonNull):
                    return True
        return False

    def _explain(
        self,
        type_: GraphQLOutputType,
        child: Position | None,
        value: Any,
        path: ClientPath,
        where: str,
        found: list[Violation],
    ) -> bool:
        if isinstance(type_, GraphQLNonNull):
            before = len(found)
            nulled = self._explain(type_.of_type, child, value, path, where, found)
            if nulled and len(found) == before:
                reason = f"Cannot return null for non-nullable field {where}."
                found.append(Violation(path, reason))
            return nulled
        if value is None:
            return True
        if isinstance(type_, GraphQLList):
            return self._explain_list(type_, child, value, path, where, found)
        if child is not None:
            return self._explain_child(child, value, path, where, found)
        read = self._leaf(type_)
        if read is None or read(value) is not None:
            return False
        if not is_hidden(get_named_type(type_), value):
            found.append(Violation(path, f"{where} should be of the type {type_}, and isn't."))
        return True

    def _explain_list(
        self,
        type_: GraphQLList[Any],
        child: Position | None,
        value: Any,
        path: ClientPath,
        where: str,
        found: list[Violation],
    ) -> bool:
        if not isinstance(value, list):
            found.append(Violation(path, f"{where} should be a list, and isn't."))
            return True
        nulled = [
            self._explain(type_.of_type, child, item, (*path, i), where, found)
            for i, item in enumerate(value)
            if len(found) < MAX_EXPLAINED
        ]
        return any(nulled) and isinstance(type_.of_type, GraphQLNonNull)

    def _explain_child(
        self, child: Position, value: Any, path: ClientPath, where: str, found: list[Violation]
    ) -> bool:
        if not isinstance(value, dict):
            found.append(Violation(path, f"{where} should be an object, and isn't."))
            return True
        branch = _branch_of(child, value)
        name = type_name_of(value) if child.is_abstract else child.type_name
        if name is None and branch:
            name = branch.types[0]
        if (
            name in self._supergraph.full_schema.type_map
            and name not in self._supergraph.schema.type_map
        ):
            return True  # @inaccessible: there is nothing to tell
        if branch is None:
            found.append(Violation(path, f"{where} has a type that is not part of the schema."))
            return True
        return self._explain_object(str(name), branch.answer, value, path, found)


def _branch_of(position: Position, value: JSON) -> Branch | None:
    if not position.is_abstract:
        return position.branches[0]
    typename = value.get(TYPENAME)
    if typename is None:
        return position.nameless_branch
    return next((branch for branch in position.branches if typename in branch.types), None)


def _constant(value: str) -> Completer:
    return lambda _: value
