"""An operation as a tree of positions, with fragments dissolved.

A *position* is a place in the answer that holds objects. Object types that can be fetched
alike there form one *branch*, so that an interface with twenty alike implementations costs as
much to plan as one type. Every field has a *raw key*, under which the subgraphs answer it; keys
and other inputs of joins become fields of the same tree that the client's answer leaves out.

A subgraph for which an interface is an object (@interfaceObject) can't tell the types of the
objects it returns. What is needed to find them out, in a subgraph that knows the implementations,
are the fields of a *generic* branch: it stands for all objects of that interface at a position.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from graphql import (
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLOutputType,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_composite_type,
    print_ast,
    value_from_ast_untyped,
)
from graphql.language import InlineFragmentNode

from gateway.supergraph.errors import CannotPlan
from gateway.supergraph.supergraph import Supergraph, TypeNames
from gateway.supergraph.syntax import CONDITIONALS, variables_in

TYPENAME = "__typename"
NOTHING: Mapping[str, str] = MappingProxyType({})
MAX_FIELDS = 20_000
"""Fields of one dissolved operation; aliased fragments can grow it exponentially."""


def type_name_of(item: Mapping[str, Any]) -> str | None:
    """The type an object says it has; None if it doesn't say. What is no name is no known type."""
    name = item.get(TYPENAME)
    return name if name is None or type(name) is str else ""


class Field:
    """One field of a branch: asked by the client, or an input that a join needs."""

    __slots__ = (
        "arguments",
        "branch",
        "child",
        "is_asked",
        "name",
        "raw_key",
        "variables",
        "visits",
    )

    def __init__(
        self, branch: "Branch", name: str, arguments: str, raw_key: str, *, is_asked: bool
    ) -> None:
        self.branch = branch
        self.name = name
        self.arguments = arguments
        self.raw_key = raw_key
        self.is_asked = is_asked
        self.variables: frozenset[str] = frozenset()
        self.child: Position | None = None
        self.visits: list[Any] = []
        """The visits that fetch it, filled by the planner."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A field of the client's answer; without `source` it is the name of the type, or the name
    of a field that is `denied`: always null.
    """

    key: str
    source: Field | None
    denied: str | None = None


class Branch:
    """The object types at a position that are fetched alike, and what is wanted of them."""

    __slots__ = ("answer", "fields", "is_generic", "names", "position", "types")

    def __init__(
        self,
        position: "Position",
        types: tuple[str, ...],
        names: TypeNames,
        *,
        is_generic: bool = False,
    ) -> None:
        self.position = position
        self.types = types
        self.names = names
        self.is_generic = is_generic
        self.fields: dict[str, Field] = {}
        self.answer: list[Answered] = []


class Position:
    """A place in the answer; `parent` is the field that leads to it, None at the root."""

    __slots__ = (
        "branches",
        "generics",
        "is_abstract",
        "is_nameless",
        "parent",
        "raw_keys",
        "type_name",
    )

    def __init__(self, type_name: str, parent: Field | None, is_abstract: bool) -> None:
        self.type_name = type_name
        self.parent = parent
        self.is_abstract = is_abstract
        self.branches: list[Branch] = []
        self.generics: dict[str, Branch] = {}
        """By interface, where a subgraph returns it as an object."""
        self.is_nameless = False
        """Whether the types of objects may stay unknown, since they make no difference."""
        self.raw_keys: dict[str, Hashable] = {TYPENAME: TYPENAME}
        """Raw keys in use here, with the shape of what they hold."""

    @property
    def nameless_branch(self) -> Branch | None:
        """The branch for objects that don't say which type they have; any will do, if it can be
        the type of an interface object.
        """
        if not self.is_nameless:
            return None
        possible_types = (b for b in self.branches if not b.names.all.isdisjoint(self.generics))
        return next(possible_types, None)

    def all_branches(self) -> Iterator[Branch]:
        """The branches, the generic ones last."""
        yield from self.branches
        yield from self.generics.values()


class Tree:
    """Builds positions for a supergraph and one operation's fragments.

    `chosen` are the values of the variables that @skip and @include read: a plan is made for
    each combination, so nothing conditional is left in it; None includes whatever may be.
    What the client asks of `denied` (coordinates of object types) is answered as null; joins may
    still use it. `witness` names a field for some types, by which they are told apart.
    """

    def __init__(
        self,
        supergraph: Supergraph,
        fragments: Mapping[str, FragmentDefinitionNode],
        chosen: Mapping[str, Any] | None,
        denied: frozenset[str] = frozenset(),
        witness: Mapping[str, str] = NOTHING,
    ) -> None:
        self.supergraph = supergraph
        self.witness = witness
        self.asked: set[str] = set()
        """The coordinates of all that the client asks and gets."""
        self._fragments = fragments
        self._chosen = chosen
        self._denied = denied
        self._size = 0

    def collect(
        self, names: TypeNames, selections: Iterable[SelectionSetNode]
    ) -> dict[str, list[FieldNode]]:
        """The fields an object of this type is asked for, by response key, in order."""
        collected: dict[str, list[FieldNode]] = {}
        visited: set[str] = set()
        for selection_set in selections:
            self._collect(names, selection_set, visited, collected)
        return collected

    def _collect(
        self,
        names: TypeNames,
        selection_set: SelectionSetNode,
        visited: set[str],
        collected: dict[str, list[FieldNode]],
    ) -> None:
        for selection in selection_set.selections:
            if not self._is_included(selection.directives or ()):
                continue
            if isinstance(selection, FieldNode):
                key = selection.alias.value if selection.alias else selection.name.value
                collected.setdefault(key, []).append(selection)
            elif isinstance(selection, InlineFragmentNode):
                condition = selection.type_condition
                if condition is None or condition.name.value in names.all:
                    self._collect(names, selection.selection_set, visited, collected)
            elif isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                if name not in visited:
                    visited.add(name)
                    fragment = self._fragments[name]
                    if fragment.type_condition.name.value in names.all:
                        self._collect(names, fragment.selection_set, visited, collected)

    def _is_included(self, directives: Sequence[DirectiveNode]) -> bool:
        if self._chosen is None:
            return True
        for directive in directives:
            if directive.name.value in CONDITIONALS and directive.arguments:
                value = directive.arguments[0].value
                if isinstance(value, VariableNode):
                    holds = bool(self._chosen[value.name.value])
                else:
                    holds = bool(value_from_ast_untyped(value))
                if holds == (directive.name.value == "skip"):
                    return False
        return True

    def root(self, type_name: str, collected: Mapping[str, list[FieldNode]]) -> Position:
        """The root position, asked for the fields collected."""
        position = Position(type_name, None, is_abstract=False)
        self._fill(position, [((type_name,), dict(collected))])
        return position

    def _position(self, parent: Field, type_name: str, nodes: list[FieldNode]) -> Position:
        possible_types = self.supergraph.possible_types[type_name]
        position = Position(type_name, parent, is_abstract=possible_types != (type_name,))
        selections = [node.selection_set for node in nodes if node.selection_set]
        alike: dict[Hashable, tuple[list[str], dict[str, list[FieldNode]]]] = {}
        for name in possible_types:
            collected = self.collect(self.supergraph.names[name], selections)
            signature = self._signature(name, collected) if len(possible_types) > 1 else name
            alike.setdefault(signature, ([], collected))[0].append(name)
        self._fill(position, [(tuple(types), fields) for types, fields in alike.values()])
        return position

    def _signature(self, name: str, collected: Mapping[str, list[FieldNode]]) -> Hashable:
        fields = tuple(
            (
                key,
                tuple(id(node) for node in nodes),
                self.supergraph.field_signature(name, nodes[0].name.value),
                str(self._type_of(name, nodes[0].name.value)),
                f"{name}.{nodes[0].name.value}" in self._denied,
            )
            for key, nodes in collected.items()
        )
        apart = name if name in self.witness else None
        return fields, self.supergraph.type_signature(name), apart

    def _fill(
        self,
        position: Position,
        branches: Sequence[tuple[tuple[str, ...], Mapping[str, list[FieldNode]]]],
    ) -> None:
        reserved = {key for _, collected in branches for key in collected}
        for types, collected in branches:
            branch = Branch(position, types, self.supergraph.names[types[0]])
            position.branches.append(branch)
            for key, nodes in collected.items():
                branch.answer.append(self._answer(branch, key, nodes, reserved))

    def _answer(
        self, branch: Branch, key: str, nodes: list[FieldNode], reserved: set[str]
    ) -> Answered:
        name = nodes[0].name.value
        if name == TYPENAME:
            return Answered(key, None)
        if f"{branch.types[0]}.{name}" in self._denied:
            return Answered(key, None, denied=name)
        self.asked.update(f"{type_name}.{name}" for type_name in branch.types)
        shape = self._shape(branch, name, _arguments(nodes[0]))
        raw_key = _free_key(branch, key, shape, reserved)
        return Answered(key, self._field(branch, nodes, raw_key, shape, is_asked=True))

    def _shape(self, branch: Branch, name: str, arguments: str) -> Hashable:
        """Equal for fields that may share a raw key; an object is only ever like itself."""
        returned = get_named_type(self._type_of(branch.types[0], name))
        if branch.is_generic or is_composite_type(returned):
            return branch, name, arguments
        return name, arguments, self.supergraph.field_types(branch.types[0], name)

    def _field(
        self,
        branch: Branch,
        nodes: list[FieldNode],
        raw_key: str,
        shape: Hashable,
        *,
        is_asked: bool,
    ) -> Field:
        self._size += len(branch.types)
        if self._size > MAX_FIELDS:
            raise CannotPlan(
                f"The operation selects more than {MAX_FIELDS} fields.",
                hint="Ask for less, or in several operations.",
            )
        node = nodes[0]
        field = Field(branch, node.name.value, _arguments(node), raw_key, is_asked=is_asked)
        field.variables = variables_in(*(node.arguments or ()))
        branch.position.raw_keys[raw_key] = shape
        branch.fields[raw_key] = field
        returned = get_named_type(self._type_of(branch.types[0], field.name))
        if is_composite_type(returned):
            field.child = self._position(field, returned.name, nodes)
        return field

    def input(self, branch: Branch, node: FieldNode) -> Field:
        """The field of a join's input, taken from what the client asks if it does."""
        name, arguments = node.name.value, _arguments(node)
        for field in branch.fields.values():
            if field.name == name and field.arguments == arguments:
                return field
        shape = self._shape(branch, name, arguments)
        key = _free_key(branch, f"raak_{name}", shape)
        bare = FieldNode(name=node.name, arguments=node.arguments, directives=())
        return self._field(branch, [bare], key, shape, is_asked=False)

    def generic(self, position: Position, interface: str) -> Branch:
        """The branch for objects of an interface whose types are not known."""
        if interface not in position.generics:
            names = self.supergraph.names[interface]
            branch = Branch(position, (interface,), names, is_generic=True)
            position.generics[interface] = branch
        return position.generics[interface]

    def tells_apart(self, position: Position) -> bool:
        """Whether the answer depends on which types the objects at a position have."""
        looks = {self._look(branch, name) for branch in position.branches for name in branch.types}
        return len(looks) > 1

    def _look(self, branch: Branch, type_name: str) -> Hashable:
        if type_name not in self.supergraph.schema.type_map:
            return None  # @inaccessible: answered as null
        return tuple(
            (answered.key, answered.source.raw_key, self._printed_type(type_name, answered))
            if answered.source
            else (answered.key, answered.denied or type_name, "")
            for answered in branch.answer
        )

    def _printed_type(self, type_name: str, answered: Answered) -> str:
        return str(self._type_of(type_name, answered.source.name)) if answered.source else ""

    def _type_of(self, type_name: str, field_name: str) -> GraphQLOutputType | None:
        type_ = self.supergraph.full_schema.type_map[type_name]
        assert isinstance(type_, GraphQLObjectType | GraphQLInterfaceType)
        field = type_.fields.get(field_name)
        return field.type if field else None


def _free_key(branch: Branch, key: str, shape: Hashable, reserved: Iterable[str] = ()) -> str:
    """`key`, or a variation of it where it already stands for something else."""
    shapes = branch.position.raw_keys
    candidate, n = key, 0
    while (
        candidate in branch.fields
        or shapes.get(candidate, shape) != shape
        or (n and candidate in reserved)
    ):
        n += 1
        candidate = f"{key}__{n}"
    return candidate


def _arguments(node: FieldNode) -> str:
    if not node.arguments:
        return ""
    return "(" + ", ".join(print_ast(argument) for argument in node.arguments) + ")"
