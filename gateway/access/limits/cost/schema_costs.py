"""What parts of the schema cost: what `@cost` says, else what is usual.

Interfaces and unions can't be marked: an object of any of their types may come, so the dearest
counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphql import (
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLSchema,
    get_named_type,
    is_abstract_type,
    is_composite_type,
)


@dataclass(frozen=True, slots=True)
class CostWeights:
    """What costs how much where nothing is marked."""

    object: int = 1
    scalar: int = 0
    mutation: int = 10
    assumed_list_size: int = 10


def possible_types(type_: GraphQLNamedType, schema: GraphQLSchema) -> Sequence[GraphQLNamedType]:
    """The types that what is of this type may have."""
    return schema.get_possible_types(type_) if is_abstract_type(type_) else (type_,)


class SchemaCosts:
    """The weights of one schema, marked and usual. `costs` is what is marked, by coordinate."""

    def __init__(
        self, schema: GraphQLSchema, costs: Mapping[str, int], weights: CostWeights | None = None
    ) -> None:
        self._schema = schema
        self._costs = costs
        self._usual = weights or CostWeights()
        self.inputs = _inputs(schema, costs)

    def field(self, parent: GraphQLNamedType, name: str, returned: GraphQLNamedType) -> int:
        """The weight of one object that a field returns."""
        return self._dearest(parent, f".{name}", self._type(returned))

    def argument(self, parent: GraphQLNamedType, field: str, name: str) -> int:
        """The weight of an argument."""
        return self._dearest(parent, f".{field}({name}:)", 0)

    def _type(self, type_: GraphQLNamedType) -> int:
        usual = self._usual.object if is_composite_type(type_) else self._usual.scalar
        return self._dearest(type_, "", usual)

    def _dearest(self, type_: GraphQLNamedType, member: str, usual: int) -> int:
        own = self._costs.get(f"{type_.name}{member}", usual)
        kinds = possible_types(type_, self._schema)
        return max((self._costs.get(f"{k.name}{member}", own) for k in kinds), default=own)


InputFieldCosts = Mapping[str, Mapping[str, tuple[int, str]]]
"""By input type within which something is marked: the fields that lead there, with the weight and
the named type of each.
"""


def _inputs(schema: GraphQLSchema, costs: Mapping[str, int]) -> InputFieldCosts:
    fields = {
        type_.name: {
            name: (costs.get(f"{type_.name}.{name}", 0), get_named_type(field.type).name)
            for name, field in type_.fields.items()
        }
        for type_ in schema.type_map.values()
        if isinstance(type_, GraphQLInputObjectType)
    }
    found: dict[str, dict[str, tuple[int, str]]] = {}
    while True:
        more = {
            name: leading
            for name, has in fields.items()
            if (leading := {f: said for f, said in has.items() if said[0] or said[1] in found})
        }
        if more == found:
            return found
        found = more
