"""What an operation selects: its fragments resolved, its types found, its size measured.

One visitor collects it for limits, cost, authorization and the audit log. A fragment is visited
once and shared by all places that spread it, so visiting takes time in proportion to the text, even
where walking the result would take exponential time: check its size before.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    ListValueNode,
    NamedTypeNode,
    ObjectValueNode,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    is_abstract_type,
    is_object_type,
)
from graphql.execution.values import VariableValues
from graphql.language import InlineFragmentNode
from graphql.pyutils import Undefined
from graphql.utilities import coerce_input_literal

from gateway.supergraph.operation import Operation, is_included

INTROSPECTION = frozenset({"__schema", "__type"})
"""Their depth is not measured: the standard introspection query is deep, validation bounds it."""


@dataclass(slots=True)
class SelectionSize:
    """What is measured of a selection; a fragment counts wherever it is spread."""

    depth: int = 0
    aliases: int = 0
    directives: int = 0
    root_fields: int = 0
    """The fields of the first level."""
    selections: int = 0
    repeats: int = 0
    """How often one selection set asks the same field, by its response key."""
    list_items: int = 0
    """The longest list written out in an argument."""

    def add(self, node: SelectionNode, below: "SelectionSize") -> None:
        """Count a selection with what is selected below it."""
        depth, aliases, root_fields = below.depth, below.aliases, below.root_fields
        directives, arguments = node.directives or (), getattr(node, "arguments", None) or ()
        if isinstance(node, FieldNode):
            depth = 1 + (0 if node.name.value in INTROSPECTION else depth)
            aliases += node.alias is not None
            root_fields = 1
        if directives or arguments:
            written = [*arguments, *(a for d in directives for a in d.arguments or ())]
            self.list_items = max(self.list_items, _longest_list(a.value for a in written))
        self.depth = max(self.depth, depth)
        self.aliases += aliases
        self.directives += len(directives) + below.directives
        self.root_fields += root_fields
        self.selections += 1 + below.selections
        self.repeats = max(self.repeats, below.repeats)
        self.list_items = max(self.list_items, below.list_items)


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument in use, of a field that the schema has."""

    place: str
    """`Type.field`"""
    name: str
    value: ValueNode
    type: GraphQLInputType

    @property
    def variable(self) -> str | None:
        """The variable that it is, if it is one."""
        return self.value.name.value if isinstance(self.value, VariableNode) else None

    def value_with(self, variables: VariableValues | None) -> Any:
        """Its value in a request, with the variables and all defaults filled in."""
        value = coerce_input_literal(self.value, self.type, variables)
        return None if value is Undefined else value


@dataclass(frozen=True, slots=True)
class TypedSelectionSet:
    """The selections of one level, and the size of all that is selected there and below."""

    selections: tuple["TypedSelection", ...] = ()
    size: SelectionSize = field(default_factory=SelectionSize)

    def fields(self, variables: Mapping[str, Any] | None = None) -> Iterator["TypedField"]:
        """The fields of this level, those in fragments included; with variables, whose defaults are
        filled in, those that @skip and @include leave.
        """
        for selection in self.selections:
            if variables is not None and not is_included(selection.node, variables):
                continue
            if isinstance(selection, TypedField):
                yield selection
            else:
                yield from selection.below.fields(variables)


@dataclass(frozen=True, slots=True)
class TypedField:
    """A field as it is selected; what the schema lacks has no definition, validation refuses it."""

    node: FieldNode
    parent: GraphQLNamedType | None
    definition: GraphQLField | None
    below: TypedSelectionSet

    @property
    def name(self) -> str:
        """Its name in the schema."""
        return self.node.name.value

    @property
    def key(self) -> str:
        """Its response key."""
        return (self.node.alias or self.node.name).value


@dataclass(frozen=True, slots=True)
class TypedFragment:
    """A fragment where it is spread, and the type its selections are limited to."""

    node: FragmentSpreadNode | InlineFragmentNode
    parent: GraphQLNamedType | None
    type: GraphQLNamedType | None
    below: TypedSelectionSet

    @property
    def is_alternative(self) -> bool:
        """Whether it is for one of several types that objects may have there."""
        return is_abstract_type(self.parent) and is_object_type(self.type)


TypedSelection: TypeAlias = TypedField | TypedFragment


def visit_operation(
    operation: Operation, schema: GraphQLSchema
) -> tuple[TypedSelectionSet, list[Argument]]:
    """What an operation selects, with the size of the whole operation, and the arguments in use,
    those in a fragment once.
    """
    definition, visitor = operation.definition, _Visitor(schema, operation.fragments)
    root = visitor.visit(definition.selection_set, schema.get_root_type(definition.operation))
    declared = definition.variable_definitions or ()
    root.size.directives += len(definition.directives or ())
    root.size.directives += sum(len(variable.directives or ()) for variable in declared)
    defaults = (variable.default_value for variable in declared if variable.default_value)
    root.size.list_items = max(root.size.list_items, _longest_list(defaults))
    return root, visitor.arguments


class _Visitor:
    def __init__(
        self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode]
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._visited: dict[str, TypedSelectionSet] = {}
        self.arguments: list[Argument] = []

    def visit(
        self, selection_set: SelectionSetNode, type_: GraphQLNamedType | None
    ) -> TypedSelectionSet:
        keys: Counter[str] = Counter()
        visited = self._visit_part(selection_set, type_, keys)
        visited.size.repeats = max(visited.size.repeats, *keys.values(), 0)
        return visited

    def _visit_part(
        self,
        selection_set: SelectionSetNode,
        type_: GraphQLNamedType | None,
        keys: Counter[str],
    ) -> TypedSelectionSet:
        """A selection set, or the part of it in an inline fragment; `keys` counts the response keys
        of the whole set.
        """
        size, selections = SelectionSize(), list[TypedSelection]()
        for node in selection_set.selections:
            selection = (
                self._visit_field(node, type_, keys)
                if isinstance(node, FieldNode)
                else self._visit_fragment(node, type_, keys)
            )
            size.add(node, selection.below.size)
            selections.append(selection)
        return TypedSelectionSet(tuple(selections), size)

    def _visit_field(
        self, node: FieldNode, parent: GraphQLNamedType | None, keys: Counter[str]
    ) -> TypedField:
        name, definition = node.name.value, None
        keys[node.alias.value if node.alias else name] += 1
        if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType):
            definition = parent.fields.get(name)
            self._add_arguments(node, f"{parent.name}.{name}", definition)
        if not node.selection_set:
            return TypedField(node, parent, definition, _NOTHING)
        returned = get_named_type(definition.type) if definition else None
        return TypedField(node, parent, definition, self.visit(node.selection_set, returned))

    def _add_arguments(self, node: FieldNode, place: str, definition: GraphQLField | None) -> None:
        known = definition.args if definition else {}
        self.arguments += [
            Argument(place, name, argument.value, known[name].type)
            for argument in node.arguments or ()
            if (name := argument.name.value) in known
        ]

    def _visit_fragment(
        self, node: SelectionNode, parent: GraphQLNamedType | None, keys: Counter[str]
    ) -> TypedFragment:
        if isinstance(node, InlineFragmentNode):
            type_ = self._type(node.type_condition) if node.type_condition else parent
            below = self._visit_part(node.selection_set, type_, keys)
            return TypedFragment(node, parent, type_, below)
        assert isinstance(node, FragmentSpreadNode)
        name = node.name.value
        if (fragment := self._fragments.get(name)) is None:
            return TypedFragment(node, parent, None, _NOTHING)
        type_ = self._type(fragment.type_condition)
        if name not in self._visited:
            self._visited[name] = _NOTHING  # so one that holds itself ends; validation refuses it
            self._visited[name] = self.visit(fragment.selection_set, type_)
        return TypedFragment(node, parent, type_, self._visited[name])

    def _type(self, condition: NamedTypeNode) -> GraphQLNamedType | None:
        return self._schema.get_type(condition.name.value)


_NOTHING = TypedSelectionSet()


def _longest_list(values: Iterable[ValueNode]) -> int:
    """The length of the longest list in these values as they are written."""
    longest = 0
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if isinstance(value, ListValueNode):
            longest = max(longest, len(value.values))
            waiting += value.values
        elif isinstance(value, ObjectValueNode):
            waiting += [inner.value for inner in value.fields]
    return longest
