"""How many items a list has: as `@listSize`, a slicing argument or an assumption tells."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphql import (
    ArgumentNode,
    FieldNode,
    GraphQLArgument,
    GraphQLField,
    GraphQLList,
    GraphQLNamedType,
    GraphQLOutputType,
    GraphQLSchema,
    GraphQLWrappingType,
    ValueNode,
    VariableNode,
    get_named_type,
    value_from_ast_untyped,
)

from gateway.access.limits.cost.operation_cost import VariableAmount, Variables
from gateway.access.limits.cost.schema_costs import possible_types
from gateway.access.limits.operation_limits import MOST, PAGE_ARGUMENTS
from gateway.supergraph.schema_metadata import ListSize
from services.chassis.errors import RaakError

SIZED = ("edges", "nodes")


class SlicingArgumentRequired(RaakError, code="SLICING_ARGUMENT_REQUIRED"):
    """A list whose `@listSize` wants one slicing argument has none, or several."""


@dataclass(frozen=True, slots=True)
class ListSizing:
    """What the slicing arguments of a field say about lists in what it returns."""

    fields: tuple[str, ...] = ()
    times: VariableAmount | int = 1


NO_SIZING = ListSizing()


class ListSizes:
    """Tells the sizes of lists.

    Args:
        marked: The `@listSize` of `Type.field`.
        assumed: The items of a list whose size nothing tells.
    """

    def __init__(self, schema: GraphQLSchema, marked: Mapping[str, ListSize], assumed: int) -> None:
        self._schema = schema
        self._list_size_marks = marked
        self._assumed = assumed

    def of(
        self, parent: GraphQLNamedType, node: FieldNode, known: GraphQLField, outer: ListSizing
    ) -> tuple[VariableAmount | int, ListSizing]:
        """How many objects the field returns, and what its arguments say of lists below."""
        sizes_by_place = self._list_sizes(parent, node.name.value, known)
        times = _largest(
            [self._times(place, node, known, s) for place, s in sizes_by_place.items()], 0
        )
        lists = _lists_in(known.type)
        if not lists:
            fields = tuple(
                dict.fromkeys(name for s in sizes_by_place.values() for name in s.sized_fields)
            )
            return 1, ListSizing(fields, times) if fields else NO_SIZING
        if node.name.value in outer.fields:
            times = outer.times
        return _multiplied(times, self._assumed ** (lists - 1)), NO_SIZING

    def _list_sizes(
        self, parent: GraphQLNamedType, name: str, known: GraphQLField
    ) -> Mapping[str, ListSize]:
        """The sizes that count, by where they are marked; of an interface those of all types."""
        own = f"{parent.name}.{name}"
        usual = self._list_size_marks.get(own) or _usual(known)
        places = (f"{kind.name}.{name}" for kind in possible_types(parent, self._schema))
        marked = {
            p if p in self._list_size_marks else own: self._list_size_marks.get(p, usual)
            for p in places
        }
        return marked or {own: usual}

    def _times(
        self, place: str, node: FieldNode, known: GraphQLField, size: ListSize
    ) -> VariableAmount | int:
        arguments = {argument.name.value: argument for argument in node.arguments or ()}
        paths = [tuple(written.split(".")) for written in size.slicing_arguments]
        sizes = [s for path in paths if (s := self._size(path, arguments, known)) is not None]
        if size.require_one_slicing_argument and size.slicing_arguments and len(sizes) != 1:
            _refuse_slicing(place, size.slicing_arguments, len(sizes))
        fallback = size.assumed if size.assumed is not None else self._assumed
        return _largest(sizes, fallback)

    def _size(
        self, path: Sequence[str], arguments: Mapping[str, ArgumentNode], known: GraphQLField
    ) -> VariableAmount | int | None:
        """What one slicing argument says; a path leads into an input object."""
        argument, *inside = path
        if argument in arguments:
            return self._amount(arguments[argument].value, inside)
        declared = known.args.get(argument)
        default = _default(declared) if declared else None
        return _as_size(_inside(default, inside))

    def _amount(self, value: ValueNode, inside: Sequence[str]) -> VariableAmount | int | None:
        if not isinstance(value, VariableNode):
            return self._literal_size(value, inside)
        name = value.name.value
        return lambda variables: _as_size(_inside(variables.get(name), inside))

    def _literal_size(self, value: ValueNode, inside: Sequence[str]) -> VariableAmount | int | None:
        """A size in a literal, which may hold a variable at the end of the path."""
        if inside:
            fields = {f.name.value: f.value for f in getattr(value, "fields", ())}
            return self._amount(fields[inside[0]], inside[1:]) if inside[0] in fields else None
        if hasattr(value, "values"):
            return len(value.values)
        return _as_size(value_from_ast_untyped(value))


def _usual(known: GraphQLField) -> ListSize:
    """What is taken for granted of a field without @listSize."""
    arguments = tuple(name for name in PAGE_ARGUMENTS if name in known.args)
    inner = getattr(get_named_type(known.type), "fields", {})
    sized = tuple(name for name in SIZED if arguments and name in inner)
    return ListSize(None, arguments, sized, require_one_slicing_argument=False)


def _refuse_slicing(place: str, arguments: Sequence[str], count: int) -> None:
    raise SlicingArgumentRequired(
        f"{place} has {count} of its slicing arguments, and needs one.",
        hint=f"Give one of: {', '.join(arguments)}.",
    )


def _default(argument: GraphQLArgument) -> Any:
    """The default of an argument in the schema as a plain value."""
    if argument.default is None:
        return None
    literal = argument.default.literal
    return value_from_ast_untyped(literal) if literal else argument.default.value


def _inside(value: Any, path: Iterable[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _as_size(value: Any) -> int | None:
    """A page size, or the length of a list of keys; None if it says nothing."""
    if isinstance(value, list | tuple):
        return len(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return MOST if value != value else int(min(max(value, 0), MOST))  # NaN: too many digits


def _lists_in(type_: GraphQLOutputType) -> int:
    lists = 0
    while isinstance(type_, GraphQLWrappingType):
        lists += isinstance(type_, GraphQLList)
        type_ = type_.of_type
    return lists


def _largest(sizes: Sequence[VariableAmount | int], fallback: int) -> VariableAmount | int:
    fixed = max((size for size in sizes if isinstance(size, int)), default=None)
    moving = [size for size in sizes if callable(size)]
    if not moving:
        return fallback if fixed is None else fixed
    if len(moving) == 1 and fixed is None:
        [only] = moving
        return lambda variables: fallback if (size := only(variables)) is None else size

    def largest(variables: Variables) -> int:
        known = [size for source in moving if (size := source(variables)) is not None]
        known += [] if fixed is None else [fixed]
        return max(known, default=fallback)

    return largest


def _multiplied(times: VariableAmount | int, factor: int) -> VariableAmount | int:
    if factor == 1:
        return times
    if isinstance(times, int):
        return times * factor
    moving = times
    return lambda variables: moving(variables) * factor
