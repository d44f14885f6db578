"""An operation as a tree of response positions, with fragments dissolved.

A *position* is a place in the response that holds objects. Object types that can be fetched
alike there form one *branch*, so that an interface with twenty alike implementations costs as
much to plan as one type. Every field has a *subgraph key*, the response key under which it is
fetched from subgraphs; keys and other inputs of joins become fields of the same tree that the
client's response leaves out.

A subgraph for which an interface is an object (@interfaceObject) doesn't know the types of the
objects it returns. What is needed to find them out, in a subgraph that knows the implementations,
are the fields of a *generic* branch: it stands for all objects of that interface at a position.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    SelectionSetNode,
    get_named_type,
    is_composite_type,
    print_ast,
)
from graphql.language import InlineFragmentNode

from gateway.supergraph.errors import CannotPlan
from gateway.supergraph.operation import is_included
from gateway.supergraph.supergraph import Supergraph, TypeNames
from gateway.supergraph.syntax import TYPENAME, variables_in

NO_ENTITY_ID_FIELDS: Mapping[str, str] = MappingProxyType({})
MAX_FIELDS = 20_000
"""Fields of one dissolved operation; aliased fragments can grow it exponentially."""


def type_name_of(item: Mapping[str, Any]) -> str | None:
    """The type an object says it has; None if it doesn't say. What is no name is no known type."""
    name = item.get(TYPENAME)
    return name if name is None or type(name) is str else ""


@dataclass(slots=True, eq=False, repr=False)
class SelectionField:
    """One field of a branch: selected by the client, or an input that a join needs."""

    branch: "Branch"
    name: str
    arguments: str
    subgraph_key: str
    is_selected: bool
    variables: frozenset[str] = frozenset()
    child: "ResponsePosition | None" = None
    fetch_groups: list[Any] = field(default_factory=list)
    """The fetch groups that fetch it, filled by the planner."""


@dataclass(frozen=True, slots=True)
class ResponseField:
    """A field of the client's response; without `field` it is the name of the type, or null for
    a `denied_field`.
    """

    key: str
    field: SelectionField | None
    denied_field: str | None = None


@dataclass(slots=True, eq=False, repr=False)
class Branch:
    """The object types at a position that are fetched alike, and what is wanted of them."""

    position: "ResponsePosition"
    types: tuple[str, ...]
    names: TypeNames
    is_generic: bool = False
    fields: dict[str, SelectionField] = field(default_factory=dict)
    response_fields: list[ResponseField] = field(default_factory=list)


@dataclass(slots=True, eq=False, repr=False)
class ResponsePosition:
    """A place in the response that holds objects; `parent` is the field that leads to it, None at
    the root.
    """

    type_name: str
    parent: SelectionField | None
    is_abstract: bool
    branches: list[Branch] = field(default_factory=list)
    generics: dict[str, Branch] = field(default_factory=dict)
    """By interface, where a subgraph returns it as an object."""
    is_untyped: bool = False
    """Whether the types of objects may stay unknown, since they make no difference."""
    subgraph_keys: dict[str, Hashable] = field(default_factory=lambda: {TYPENAME: TYPENAME})
    """Subgraph keys in use here, with the shape of what they hold."""

    @property
    def untyped_branch(self) -> Branch | None:
        """The branch for objects that don't say which type they have; any will do, if it can be
        the type of an interface object.
        """
        if not self.is_untyped:
            return None
        possible_types = (b for b in self.branches if not b.names.all.isdisjoint(self.generics))
        return next(possible_types, None)

    def all_branches(self) -> Iterator[Branch]:
        """The branches, the generic ones last."""
        yield from self.branches
        yield from self.generics.values()


class SelectionTree:
    """Builds positions for a supergraph and one operation's fragments.

    `condition_values` are the values of the variables that @skip and @include read: there is a plan
    for each combination, so nothing conditional is left in it; None includes whatever may be.
    What the client selects of `denied` (coordinates of object types) is null in the response; joins
    may still use it. `entity_id_fields` names a field for some types that identifies their objects.
    """

    def __init__(
        self,
        supergraph: Supergraph,
        fragments: Mapping[str, FragmentDefinitionNode],
        condition_values: Mapping[str, Any] | None,
        denied: frozenset[str] = frozenset(),
        entity_id_fields: Mapping[str, str] = NO_ENTITY_ID_FIELDS,
    ) -> None:
        self.supergraph = supergraph
        self.entity_id_fields = entity_id_fields
        self.coordinates: set[str] = set()
        """The coordinates of all that the client selects and may have."""
        self._fragments = fragments
        self._chosen = condition_values
        self._denied = denied
        self._size = 0

    def collect_fields(
        self, names: TypeNames, selections: Iterable[SelectionSetNode]
    ) -> dict[str, list[FieldNode]]:
        """The fields selected of an object of this type, by response key, in order."""
        collected: dict[str, list[FieldNode]] = {}
        visited: set[str] = set()
        for selection_set in selections:
            self._collect_fields(names, selection_set, visited, collected)
        return collected

    def _collect_fields(
        self,
        names: TypeNames,
        selection_set: SelectionSetNode,
        visited: set[str],
        collected: dict[str, list[FieldNode]],
    ) -> None:
        for selection in selection_set.selections:
            if self._chosen is not None and not is_included(selection, self._chosen):
                continue
            if isinstance(selection, FieldNode):
                key = selection.alias.value if selection.alias else selection.name.value
                collected.setdefault(key, []).append(selection)
            elif isinstance(selection, InlineFragmentNode):
                condition = selection.type_condition
                if condition is None or condition.name.value in names.all:
                    self._collect_fields(names, selection.selection_set, visited, collected)
            elif isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                if name not in visited:
                    visited.add(name)
                    fragment = self._fragments[name]
                    if fragment.type_condition.name.value in names.all:
                        self._collect_fields(names, fragment.selection_set, visited, collected)

    def build_root(
        self, type_name: str, collected: Mapping[str, list[FieldNode]]
    ) -> ResponsePosition:
        """The root position, with the fields collected."""
        position = ResponsePosition(type_name, None, is_abstract=False)
        self._add_branches(position, [((type_name,), dict(collected))])
        return position

    def _build_position(
        self, parent: SelectionField, type_name: str, nodes: list[FieldNode]
    ) -> ResponsePosition:
        possible_types = self.supergraph.possible_types[type_name]
        position = ResponsePosition(type_name, parent, is_abstract=possible_types != (type_name,))
        selections = [node.selection_set for node in nodes if node.selection_set]
        by_signature: dict[Hashable, tuple[list[str], dict[str, list[FieldNode]]]] = {}
        for name in possible_types:
            collected = self.collect_fields(self.supergraph.names[name], selections)
            signature = self._signature(name, collected) if len(possible_types) > 1 else name
            by_signature.setdefault(signature, ([], collected))[0].append(name)
        self._add_branches(
            position, [(tuple(types), fields) for types, fields in by_signature.values()]
        )
        return position

    def _signature(self, name: str, collected: Mapping[str, list[FieldNode]]) -> Hashable:
        fields = tuple(
            (
                key,
                tuple(id(node) for node in nodes),
                self.supergraph.field_signature(name, nodes[0].name.value),
                str(self.supergraph.field_type(name, nodes[0].name.value)),
                f"{name}.{nodes[0].name.value}" in self._denied,
            )
            for key, nodes in collected.items()
        )
        identity = name if name in self.entity_id_fields else None
        return fields, self.supergraph.type_signature(name), identity

    def _add_branches(
        self,
        position: ResponsePosition,
        branches: Sequence[tuple[tuple[str, ...], Mapping[str, list[FieldNode]]]],
    ) -> None:
        reserved = {key for _, collected in branches for key in collected}
        for types, collected in branches:
            branch = Branch(position, types, self.supergraph.names[types[0]])
            position.branches.append(branch)
            for key, nodes in collected.items():
                branch.response_fields.append(
                    self._build_response_field(branch, key, nodes, reserved)
                )

    def _build_response_field(
        self, branch: Branch, key: str, nodes: list[FieldNode], reserved: set[str]
    ) -> ResponseField:
        name = nodes[0].name.value
        if name == TYPENAME:
            return ResponseField(key, None)
        if f"{branch.types[0]}.{name}" in self._denied:
            return ResponseField(key, None, denied_field=name)
        self.coordinates.update(f"{type_name}.{name}" for type_name in branch.types)
        shape = self._shape(branch, name, _arguments(nodes[0]))
        subgraph_key = _choose_key(branch, key, shape, reserved)
        return ResponseField(
            key, self._add_field(branch, nodes, subgraph_key, shape, is_selected=True)
        )

    def _shape(self, branch: Branch, name: str, arguments: str) -> Hashable:
        """Equal for fields that may share a subgraph key; an object is only ever like itself."""
        returned = get_named_type(self.supergraph.field_type(branch.types[0], name))
        if branch.is_generic or is_composite_type(returned):
            return branch, name, arguments
        return name, arguments, self.supergraph.field_types(branch.types[0], name)

    def _add_field(
        self,
        branch: Branch,
        nodes: list[FieldNode],
        subgraph_key: str,
        shape: Hashable,
        *,
        is_selected: bool,
    ) -> SelectionField:
        self._size += len(branch.types)
        if self._size > MAX_FIELDS:
            raise CannotPlan(
                f"The operation selects more than {MAX_FIELDS} fields.",
                hint="Select less, or send several operations.",
            )
        node = nodes[0]
        field = SelectionField(
            branch, node.name.value, _arguments(node), subgraph_key, is_selected=is_selected
        )
        field.variables = variables_in(*(node.arguments or ()))
        branch.position.subgraph_keys[subgraph_key] = shape
        branch.fields[subgraph_key] = field
        returned = get_named_type(self.supergraph.field_type(branch.types[0], field.name))
        if is_composite_type(returned):
            field.child = self._build_position(field, returned.name, nodes)
        return field

    def input_field(self, branch: Branch, node: FieldNode) -> SelectionField:
        """The field of a join's input; the client's own field, if it selects the same."""
        name, arguments = node.name.value, _arguments(node)
        for known in branch.fields.values():
            if known.name == name and known.arguments == arguments:
                return known
        shape = self._shape(branch, name, arguments)
        key = _choose_key(branch, f"raak_{name}", shape)
        bare = FieldNode(name=node.name, arguments=node.arguments, directives=())
        return self._add_field(branch, [bare], key, shape, is_selected=False)

    def generic_branch(self, position: ResponsePosition, interface: str) -> Branch:
        """The branch for objects of an interface whose types are not known."""
        if interface not in position.generics:
            names = self.supergraph.names[interface]
            branch = Branch(position, (interface,), names, is_generic=True)
            position.generics[interface] = branch
        return position.generics[interface]

    def depends_on_types(self, position: ResponsePosition) -> bool:
        """Whether the response depends on which types the objects at a position have."""
        signatures = {
            self._response_signature(branch, name)
            for branch in position.branches
            for name in branch.types
        }
        return len(signatures) > 1

    def _response_signature(self, branch: Branch, type_name: str) -> Hashable:
        if type_name not in self.supergraph.schema.type_map:
            return None  # @inaccessible: null in the response
        return tuple(
            (
                response_field.key,
                response_field.field.subgraph_key,
                self._print_type(type_name, response_field),
            )
            if response_field.field
            else (response_field.key, response_field.denied_field or type_name, "")
            for response_field in branch.response_fields
        )

    def _print_type(self, type_name: str, response_field: ResponseField) -> str:
        return (
            str(self.supergraph.field_type(type_name, response_field.field.name))
            if response_field.field
            else ""
        )


def _choose_key(branch: Branch, key: str, shape: Hashable, reserved: Iterable[str] = ()) -> str:
    """`key`, or a variation of it where it already stands for something else."""
    shapes = branch.position.subgraph_keys
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
