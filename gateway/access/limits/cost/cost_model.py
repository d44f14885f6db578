"""Reads an operation for its cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from graphql import GraphQLSchema, get_named_type

from gateway.access.limits.cost.input_costs import InputCosts
from gateway.access.limits.cost.list_sizes import NO_SIZING, ListSizes, ListSizing
from gateway.access.limits.cost.operation_cost import (
    OperationCost,
    SelectionCost,
    SelectionSetCost,
)
from gateway.access.limits.cost.schema_costs import CostWeights, SchemaCosts
from gateway.access.selections import TypedField, TypedFragment, TypedSelection, TypedSelectionSet
from gateway.supergraph.operation import Conditions, read_conditions
from gateway.supergraph.schema_metadata import SchemaMetadata


@dataclass(frozen=True)
class CostModel:
    """Prices operations over a schema."""

    schema: GraphQLSchema
    metadata: SchemaMetadata = field(default_factory=SchemaMetadata)
    weights: CostWeights = field(default_factory=CostWeights)

    @cached_property
    def schema_costs(self) -> SchemaCosts:
        """The weights of the schema."""
        return SchemaCosts(self.schema, self.metadata.costs, self.weights)

    def price(self, root: TypedSelectionSet, defaults: Mapping[str, Any]) -> OperationCost:
        """The price of an operation that is within the limits, with the defaults of its variables;
        what the schema does not have is free, validation refuses it.

        Raises SlicingArgumentRequired.
        """
        return OperationCost.of(self._selection_set_cost(0, root, NO_SIZING), defaults)

    @cached_property
    def _sizes(self) -> ListSizes:
        return ListSizes(self.schema, self.metadata.list_sizes, self.weights.assumed_list_size)

    @cached_property
    def _inputs(self) -> InputCosts:
        return InputCosts(self.schema_costs)

    def _selection_set_cost(
        self, own: int, selection_set: TypedSelectionSet, sizing: ListSizing
    ) -> SelectionSetCost:
        parts: list[SelectionCost] = []
        by_type: dict[str, list[SelectionCost]] = {}
        for selection in selection_set.selections:
            conditions = read_conditions(selection.node)
            if conditions is None:
                continue
            group = parts
            if isinstance(selection, TypedFragment) and selection.is_alternative:
                group = by_type.setdefault(str(selection.type), [])
            group.append(self._selection_cost(selection, sizing, conditions))
        alternatives = [SelectionSetCost(0, group) for group in by_type.values()]
        return SelectionSetCost(own, parts, alternatives)

    def _selection_cost(
        self, selection: TypedSelection, sizing: ListSizing, conditions: Conditions
    ) -> SelectionCost:
        if not isinstance(selection, TypedField):
            whole = self._selection_set_cost(0, selection.below, sizing)
            return SelectionCost("", whole, conditions=conditions)
        name, parent, known = selection.name, selection.parent, selection.definition
        if known is None or parent is None:
            return SelectionCost(name, SelectionSetCost(0))
        own, below = self._sizes.of(parent, selection.node, known, sizing)
        weight = self.schema_costs.field(parent, name, get_named_type(known.type))
        each = self._selection_set_cost(weight, selection.below, below)
        writing = self.weights.mutation if parent.name == "Mutation" else 0
        once = self._inputs.of(parent, selection.node, known.args, extra=writing)
        return SelectionCost(name, each, once=once, times=own, conditions=conditions)
