"""What an operation may cost at most, told from its text and variables alone.

Static cost analysis as in IBM's GraphQL Cost Directive specification (ibm.github.io/graphql-specs)
and Apollo's demand control: an object costs 1 and a scalar nothing, unless `@cost` says otherwise;
a list costs its items times its size, which `@listSize`, a slicing argument or an assumption
tells. A root field of a mutation costs 10 more: it writes.

Where no `@listSize` stands, `first`, `last` and `limit` are slicing arguments, and those of a
connection size its `edges` and `nodes`. Of fragments on several object types only the dearest
counts, since an object has one type. A field asked twice counts twice: the price is an upper bound.

An operation is priced once into a tree in which all that no variable moves is added up already,
so a warm operation's price is looked up, or costs a microsecond for each size in a variable.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from graphql import (
    ArgumentNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    GraphQLWrappingType,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    is_abstract_type,
    is_composite_type,
    is_object_type,
    value_from_ast_untyped,
)
from graphql.language import InlineFragmentNode

from gateway.access.limits import MOST, LimitExceeded, Limits
from gateway.supergraph.joins import ListSize, Markings
from services.chassis.errors import RaakError

SLICING = ("first", "last", "limit")
SIZED = ("edges", "nodes")

Given = Mapping[str, Any]
"""The variables of a request, as they came."""
Amount = Callable[[Given], Any]
"""A value once the variables are known."""


class SlicingArgumentRequired(RaakError):
    """A list whose `@listSize` wants one slicing argument has none, or several."""

    code = "SLICING_ARGUMENT_REQUIRED"


@dataclass(frozen=True, slots=True)
class Weights:
    """What costs how much where nothing is marked."""

    object: int = 1
    scalar: int = 0
    mutation: int = 10
    assumed_list_size: int = 10


class Sum:
    """What a selection costs for one object: parts beside each other, and the dearest of some."""

    __slots__ = ("_fixed", "_moving", "alternatives", "is_shared", "own", "parts")

    def __init__(
        self,
        own: int,
        parts: Sequence["Part"] = (),
        alternatives: Sequence["Sum"] = (),
        *,
        is_shared: bool = False,
    ) -> None:
        self.own = own
        self.parts = parts
        self.alternatives = alternatives
        self.is_shared = is_shared
        """Whether it stands in several places, so that its price is worth keeping."""
        self._moving = tuple(part for part in parts if part.fixed is None)
        self._fixed = min(own + sum(part.fixed or 0 for part in parts), MOST)

    @property
    def fixed(self) -> int | None:
        """The price, if no variable changes it."""
        if self._moving or any(other.fixed is None for other in self.alternatives):
            return None
        return self.price({}, {})

    def price(self, given: Given, known: dict[int, int]) -> int:
        """The price; `known` holds those of shared sums for these variables."""
        if self.is_shared and id(self) in known:
            return known[id(self)]
        price = self._fixed
        for part in self._moving:
            price += part.price(given, known)
        if self.alternatives:
            price += max(other.price(given, known) for other in self.alternatives)
        price = min(price, MOST)
        if self.is_shared:
            known[id(self)] = price
        return price


class Part:
    """A field or fragment with all that is asked below it; the latter has no name."""

    __slots__ = ("_included", "_times", "each", "fixed", "name", "once")

    def __init__(
        self,
        name: str,
        each: Sum,
        *,
        once: int = 0,
        times: Amount | int = 1,
        included: Amount | None = None,
    ) -> None:
        self.name = name
        self.each = each
        self.once = once
        self._times = times
        self._included = included
        is_fixed = included is None and isinstance(times, int) and each.fixed is not None
        self.fixed: int | None = self.price({}, {}) if is_fixed else None

    def times(self, given: Given) -> int:
        """How many objects there are, for one above them."""
        if self._included is not None and not self._included(given):
            return 0
        if isinstance(self._times, int):
            return self._times
        times: int = self._times(given)
        return times

    def price(self, given: Given, known: dict[int, int]) -> int:
        """The price for one object above."""
        if self._included is not None and not self._included(given):
            return 0
        times = self._times if isinstance(self._times, int) else self._times(given)
        return min(self.once + times * self.each.price(given, known), MOST)


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one operation, for any variables."""

    _sum: Sum
    _fixed: int | None = None

    @classmethod
    def of(cls, whole: Sum) -> "Price":
        """The price of a whole operation."""
        return cls(whole, whole.fixed)

    @property
    def is_fixed(self) -> bool:
        """Whether it is the same for all variables."""
        return self._fixed is not None

    def __call__(self, given: Given) -> int:
        """The price with these variables; where they are not what is declared, a guess."""
        return self._sum.price(given, {}) if self._fixed is None else self._fixed

    def dearest(self, given: Given) -> tuple[str, int]:
        """Where at least half of each price comes from, as a path, and the price of all there."""
        known: dict[int, int] = {}
        path: list[str] = []
        times, price, here = 1, self._sum.price(given, known), self._sum
        while part := max(_all_parts(here), key=lambda p: p.price(given, known), default=None):
            below = part.price(given, known)
            if 2 * below < here.price(given, known) and path:
                break
            path += [part.name] if part.name else []
            price, times, here = times * below, times * part.times(given), part.each
        return ".".join(path), min(price, MOST)


def _all_parts(whole: Sum) -> Iterator[Part]:
    yield from whole.parts
    for other in whole.alternatives:
        yield from other.parts


def check_cost(price: Price, given: Given, limits: Limits) -> int:
    """What an operation costs with these variables; raises LimitExceeded when that is too much."""
    asked = price(given)
    if asked > limits.cost:
        path, part = price.dearest(given)
        amount = f"more than {MOST}" if asked >= MOST else str(asked)
        most = "most" if part >= MOST else str(part)
        raise LimitExceeded(
            f"The operation costs {amount}, {most} of it for {path}.", "cost", limits.cost
        )
    return asked


@dataclass(frozen=True, slots=True)
class _Sizing:
    """What the slicing arguments of a field say about lists in what it returns."""

    fields: tuple[str, ...] = ()
    times: Amount | int = 1


NO_SIZING = _Sizing()


@dataclass(frozen=True, slots=True)
class Pricing:
    """Prices operations over a schema."""

    schema: GraphQLSchema
    markings: Markings = field(default_factory=Markings)
    weights: Weights = field(default_factory=Weights)

    def price(self, document: DocumentNode, operation: OperationDefinitionNode) -> Price:
        """The price of an operation; what the schema does not have is free, validation refuses it.

        Raises SlicingArgumentRequired.
        """
        return _Reading(self, document, operation).price()


class _Reading:
    """The pricing of one operation."""

    def __init__(
        self, pricing: Pricing, document: DocumentNode, operation: OperationDefinitionNode
    ) -> None:
        self._schema = pricing.schema
        self._markings = pricing.markings
        self._weights = pricing.weights
        self._operation = operation
        self._fragments = {
            d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)
        }
        self._defaults = {
            v.variable.name.value: value_from_ast_untyped(v.default_value)
            for v in operation.variable_definitions or ()
            if v.default_value is not None
        }
        self._sums: dict[tuple[str, _Sizing], Sum] = {}

    def price(self) -> Price:
        root = self._schema.get_root_type(self._operation.operation)
        return Price.of(self._sum(0, self._operation.selection_set, root, NO_SIZING))

    def _sum(
        self,
        own: int,
        selection_set: SelectionSetNode | None,
        type_: GraphQLNamedType | None,
        sizing: _Sizing,
        *,
        is_shared: bool = False,
    ) -> Sum:
        parts: list[Part] = []
        by_type: dict[str, list[Part]] = {}
        for selection in selection_set.selections if selection_set else ():
            included = self._included(selection)
            if included is False:
                continue
            part, condition = self._part(selection, type_, sizing, included)
            is_one_of = is_abstract_type(type_) and is_object_type(condition)
            (by_type.setdefault(condition.name, []) if is_one_of and condition else parts).append(
                part
            )
        alternatives = [Sum(0, group) for group in by_type.values()]
        return Sum(own, parts, alternatives, is_shared=is_shared)

    def _part(
        self,
        selection: SelectionNode,
        type_: GraphQLNamedType | None,
        sizing: _Sizing,
        included: Amount | None,
    ) -> tuple[Part, GraphQLNamedType | None]:
        """A selection's price, and the type it is limited to."""
        if isinstance(selection, FieldNode):
            return self._field(selection, type_, sizing, included), None
        if isinstance(selection, FragmentSpreadNode):
            whole, condition = self._fragment(selection.name.value, sizing)
            return Part("", whole, included=included), condition
        assert isinstance(selection, InlineFragmentNode)
        named = selection.type_condition
        condition = self._schema.get_type(named.name.value) if named else type_
        whole = self._sum(0, selection.selection_set, condition, sizing)
        return Part("", whole, included=included), condition if named else None

    def _fragment(self, name: str, sizing: _Sizing) -> tuple[Sum, GraphQLNamedType | None]:
        """A fragment's price; one that holds itself costs nothing, validation refuses it."""
        fragment = self._fragments.get(name)
        if fragment is None:
            return Sum(0), None
        condition = self._schema.get_type(fragment.type_condition.name.value)
        key = (name, sizing)
        if key not in self._sums:
            self._sums[key] = Sum(0)
            self._sums[key] = self._sum(
                0, fragment.selection_set, condition, sizing, is_shared=True
            )
        return self._sums[key], condition

    def _field(
        self,
        node: FieldNode,
        parent: GraphQLNamedType | None,
        sizing: _Sizing,
        included: Amount | None,
    ) -> Part:
        name = node.name.value
        known = (
            parent.fields.get(name)
            if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType)
            else None
        )
        if known is None or parent is None:
            return Part(name, Sum(0))
        place = f"{parent.name}.{name}"
        own, below = self._sizes(place, node, known, sizing)
        returned = get_named_type(known.type)
        each = self._sum(self._weight(place, returned), node.selection_set, returned, below)
        return Part(name, each, once=self._once(place, node), times=own, included=included)

    def _weight(self, place: str, returned: GraphQLNamedType) -> int:
        costs = self._markings.costs
        usual = self._weights.object if is_composite_type(returned) else self._weights.scalar
        return costs.get(place, costs.get(returned.name, usual))

    def _once(self, place: str, node: FieldNode) -> int:
        """What the field costs however many objects it returns."""
        costs = self._markings.costs
        arguments = sum(
            costs.get(f"{place}({argument.name.value}:)", 0) for argument in node.arguments or ()
        )
        is_writing = self._operation.operation is OperationType.MUTATION and place.startswith(
            "Mutation."
        )
        return arguments + (self._weights.mutation if is_writing else 0)

    # Sizes of lists

    def _sizes(
        self, place: str, node: FieldNode, known: GraphQLField, outer: _Sizing
    ) -> tuple[Amount | int, _Sizing]:
        """How many objects the field returns, and what its arguments say of lists below."""
        marked = self._markings.list_sizes.get(place)
        size = marked or _usual(known)
        times = self._times(place, node, known, size)
        lists = _lists_in(known.type)
        if not lists:
            return 1, _Sizing(size.sized_fields, times) if size.sized_fields else NO_SIZING
        if node.name.value in outer.fields:
            times = outer.times
        return _multiplied(times, self._weights.assumed_list_size ** (lists - 1)), NO_SIZING

    def _times(
        self, place: str, node: FieldNode, known: GraphQLField, size: ListSize
    ) -> Amount | int:
        given = {argument.name.value: argument for argument in node.arguments or ()}
        paths = [tuple(written.split(".")) for written in size.slicing_arguments]
        sizes = [s for path in paths if (s := self._size(path, given, known)) is not None]
        if size.require_one_slicing_argument and size.slicing_arguments and len(sizes) != 1:
            _refuse_slicing(place, size.slicing_arguments, len(sizes))
        fallback = size.assumed if size.assumed is not None else self._weights.assumed_list_size
        return _largest(sizes, fallback)

    def _size(
        self, path: Sequence[str], given: Mapping[str, ArgumentNode], known: GraphQLField
    ) -> Amount | int | None:
        """What one slicing argument says; a path leads into an input object."""
        argument, *inside = path
        if argument in given:
            return self._amount(given[argument].value, inside)
        declared = known.args.get(argument)
        default = _default(declared) if declared else None
        return _as_size(_inside(default, inside))

    def _amount(self, value: ValueNode, inside: Sequence[str]) -> Amount | int | None:
        if not isinstance(value, VariableNode):
            return self._written(value, inside)
        name, default = value.name.value, self._defaults.get(value.name.value)
        if not inside:
            return lambda given: _as_size(given.get(name, default))
        return lambda given: _as_size(_inside(given.get(name, default), inside))

    def _written(self, value: ValueNode, inside: Sequence[str]) -> Amount | int | None:
        """A size in a literal, which may hold a variable at the end of the path."""
        if inside:
            fields = {f.name.value: f.value for f in getattr(value, "fields", ())}
            return self._amount(fields[inside[0]], inside[1:]) if inside[0] in fields else None
        if hasattr(value, "values"):
            return len(value.values)
        return _as_size(value_from_ast_untyped(value))

    # @skip and @include

    def _included(self, selection: SelectionNode) -> Amount | Literal[False] | None:
        """Whether a selection is asked: False, None for always, or what the variables say."""
        found: list[Amount] = []
        for directive in selection.directives or ():
            holds = self._holds(directive)
            if holds is False:
                return False
            if callable(holds):
                found.append(holds)
        if len(found) < 2:
            return found[0] if found else None
        return lambda given: all(holds(given) for holds in found)

    def _holds(self, directive: DirectiveNode) -> Amount | bool:
        if directive.name.value not in ("skip", "include") or not directive.arguments:
            return True
        is_wanted = directive.name.value == "include"
        value = directive.arguments[0].value
        if not isinstance(value, VariableNode):
            return bool(value_from_ast_untyped(value)) is is_wanted
        name, default = value.name.value, self._defaults.get(value.name.value)
        return lambda given: bool(given.get(name, default)) is is_wanted


def _usual(known: GraphQLField) -> ListSize:
    """What is taken for granted of a field without @listSize."""
    arguments = tuple(name for name in SLICING if name in known.args)
    inner = getattr(get_named_type(known.type), "fields", {})
    sized = tuple(name for name in SIZED if arguments and name in inner)
    return ListSize(None, arguments, sized, require_one_slicing_argument=False)


def _refuse_slicing(place: str, arguments: Sequence[str], given: int) -> None:
    raise SlicingArgumentRequired(
        f"{place} is asked with {given} of its slicing arguments, and needs one.",
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
    return int(min(max(value, 0), MOST))


def _lists_in(type_: GraphQLOutputType) -> int:
    lists = 0
    while isinstance(type_, GraphQLWrappingType):
        lists += isinstance(type_, GraphQLList)
        type_ = type_.of_type
    return lists


def _largest(sizes: Sequence[Amount | int], fallback: int) -> Amount | int:
    fixed = max((size for size in sizes if isinstance(size, int)), default=None)
    moving = [size for size in sizes if callable(size)]
    if not moving:
        return fallback if fixed is None else fixed
    if len(moving) == 1 and fixed is None:
        [only] = moving
        return lambda given: fallback if (size := only(given)) is None else size

    def largest(given: Given) -> int:
        said = [size for source in moving if (size := source(given)) is not None]
        said += [] if fixed is None else [fixed]
        return max(said, default=fallback)

    return largest


def _multiplied(times: Amount | int, factor: int) -> Amount | int:
    if factor == 1:
        return times
    if isinstance(times, int):
        return times * factor
    moving = times
    return lambda given: moving(given) * factor
