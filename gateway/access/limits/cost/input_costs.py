"""What the values of arguments cost: the weights of arguments and of input fields.

The IBM specification adds to a field's own weight that of each argument and input field in use.
What is null is not in use. An input object as such is free, unlike there: it does no work by
itself, and how many there may be is limited already. In a list every item counts, and none takes
anything off, so that a negative weight can't be multiplied by whoever asks.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from graphql import (
    FieldNode,
    GraphQLArgument,
    GraphQLNamedType,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    ValueNode,
    VariableNode,
    get_named_type,
)

from gateway.access.limits.cost.operation_cost import CostMemo, VariableCost, Variables
from gateway.access.limits.cost.schema_costs import SchemaCosts


class InputCosts:
    """Prices the arguments of fields."""

    def __init__(self, marked: SchemaCosts) -> None:
        self._schema_costs = marked

    def of(
        self,
        parent: GraphQLNamedType,
        node: FieldNode,
        arguments: Mapping[str, GraphQLArgument],
        extra: int,
    ) -> VariableCost | int:
        """What all arguments of a field cost, and `extra` for the field; it may be negative."""
        costs: list[VariableCost | int] = [extra]
        for argument in node.arguments or ():
            name = argument.name.value
            if name in arguments:
                weight = self._schema_costs.argument(parent, node.name.value, name)
                type_name = get_named_type(arguments[name].type).name
                costs += self._argument_cost(argument.value, weight, type_name)
        return _total(costs)

    def _argument_cost(
        self, value: ValueNode, weight: int, type_name: str
    ) -> Iterator[VariableCost | int]:
        """What a value costs in an argument or input field of this weight and named type."""
        if isinstance(value, NullValueNode) or not (
            weight or type_name in self._schema_costs.inputs
        ):
            return
        if isinstance(value, VariableNode):
            yield self._variable(value.name.value, weight, type_name)
            return
        yield weight
        yield from self._inner_costs(value, type_name)

    def _inner_costs(self, value: ValueNode, type_name: str) -> Iterator[VariableCost | int]:
        if isinstance(value, ListValueNode):
            for item in value.values:
                yield _total(list(self._argument_cost(item, 0, type_name)), least=0)
        elif isinstance(value, ObjectValueNode):
            marked = self._schema_costs.inputs.get(type_name, {})
            for field in value.fields:
                if field.name.value in marked:
                    yield from self._argument_cost(field.value, *marked[field.name.value])

    def _variable(self, name: str, weight: int, type_name: str) -> VariableCost:
        key = (name, type_name)

        def cost(variables: Variables, memo: CostMemo) -> int:
            value = variables.get(name)
            if value is None:
                return 0
            if key not in memo:
                memo[key] = self._value_cost(value, type_name)
            return weight + memo[key]

        return cost

    def _value_cost(self, value: Any, type_name: str) -> int:
        """What a value in a variable costs, apart from the weight of where it stands."""
        marked = self._schema_costs.inputs.get(type_name)
        if marked is None:
            return 0
        if isinstance(value, list):
            return sum(max(0, self._value_cost(item, type_name)) for item in value)
        if not isinstance(value, Mapping):
            return 0
        return sum(
            weight + self._value_cost(value[name], inner)
            for name, (weight, inner) in marked.items()
            if value.get(name) is not None
        )


def _total(costs: list[VariableCost | int], least: int | None = None) -> VariableCost | int:
    """The sum of costs, `least` at least."""
    fixed = sum(cost for cost in costs if isinstance(cost, int))
    moving = [cost for cost in costs if not isinstance(cost, int)]
    if not moving:
        return fixed if least is None else max(least, fixed)

    def total(variables: Variables, memo: CostMemo) -> int:
        whole = fixed + sum(cost(variables, memo) for cost in moving)
        return whole if least is None else max(least, whole)

    return total
