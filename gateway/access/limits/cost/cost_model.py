"""Reads an operation for its cost."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from graphql import (
    DirectiveNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_abstract_type,
    is_object_type,
    value_from_ast_untyped,
)
from graphql.language import InlineFragmentNode

from gateway.access.limits.cost.input_costs import InputCosts
from gateway.access.limits.cost.list_sizes import NO_SIZING, ListSizes, ListSizing
from gateway.access.limits.cost.operation_cost import (
    OperationCost,
    SelectionCost,
    SelectionSetCost,
    VariableAmount,
)
from gateway.access.limits.cost.schema_costs import CostWeights, SchemaCosts
from gateway.access.limits.operation_limits import variable_defaults
from gateway.supergraph.operation import Operation
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

    def price(self, operation: Operation) -> OperationCost:
        """The price of an operation; what the schema does not have is free, validation refuses it.

        Raises SlicingArgumentRequired.
        """
        return _CostBuilder(self, operation).price()


class _CostBuilder:
    """Builds the cost of one operation, selection by selection."""

    def __init__(self, model: CostModel, operation: Operation) -> None:
        self._schema = model.schema
        self._schema_costs = model.schema_costs
        self._weights = model.weights
        self._operation = operation.definition
        self._fragments = operation.fragments
        self._defaults = variable_defaults(operation.definition)
        self._sizes = ListSizes(
            self._schema,
            model.metadata.list_sizes,
            self._weights.assumed_list_size,
            self._defaults,
        )
        self._inputs = InputCosts(self._schema_costs, self._defaults)
        self._fragment_costs: dict[tuple[str, ListSizing], SelectionSetCost] = {}

    def price(self) -> OperationCost:
        root = self._schema.get_root_type(self._operation.operation)
        return OperationCost.of(
            self._selection_set_cost(0, self._operation.selection_set, root, NO_SIZING)
        )

    def _selection_set_cost(
        self,
        own: int,
        selection_set: SelectionSetNode | None,
        type_: GraphQLNamedType | None,
        sizing: ListSizing,
        *,
        is_shared: bool = False,
    ) -> SelectionSetCost:
        parts: list[SelectionCost] = []
        by_type: dict[str, list[SelectionCost]] = {}
        for selection in selection_set.selections if selection_set else ():
            included = self._included(selection)
            if included is False:
                continue
            part, condition = self._selection_cost(selection, type_, sizing, included)
            is_one_of = is_abstract_type(type_) and is_object_type(condition)
            (by_type.setdefault(condition.name, []) if is_one_of and condition else parts).append(
                part
            )
        alternatives = [SelectionSetCost(0, group) for group in by_type.values()]
        return SelectionSetCost(own, parts, alternatives, is_shared=is_shared)

    def _selection_cost(
        self,
        selection: SelectionNode,
        type_: GraphQLNamedType | None,
        sizing: ListSizing,
        included: VariableAmount | None,
    ) -> tuple[SelectionCost, GraphQLNamedType | None]:
        """A selection's price, and the type it is limited to."""
        if isinstance(selection, FieldNode):
            return self._field_cost(selection, type_, sizing, included), None
        if isinstance(selection, FragmentSpreadNode):
            whole, condition = self._fragment_cost(selection.name.value, sizing)
            return SelectionCost("", whole, included=included), condition
        assert isinstance(selection, InlineFragmentNode)
        named = selection.type_condition
        condition = self._schema.get_type(named.name.value) if named else type_
        whole = self._selection_set_cost(0, selection.selection_set, condition, sizing)
        return SelectionCost("", whole, included=included), condition if named else None

    def _fragment_cost(
        self, name: str, sizing: ListSizing
    ) -> tuple[SelectionSetCost, GraphQLNamedType | None]:
        """A fragment's price; one that holds itself costs nothing, validation refuses it."""
        fragment = self._fragments.get(name)
        if fragment is None:
            return SelectionSetCost(0), None
        condition = self._schema.get_type(fragment.type_condition.name.value)
        key = (name, sizing)
        if key not in self._fragment_costs:
            self._fragment_costs[key] = SelectionSetCost(0)
            self._fragment_costs[key] = self._selection_set_cost(
                0, fragment.selection_set, condition, sizing, is_shared=True
            )
        return self._fragment_costs[key], condition

    def _field_cost(
        self,
        node: FieldNode,
        parent: GraphQLNamedType | None,
        sizing: ListSizing,
        included: VariableAmount | None,
    ) -> SelectionCost:
        name = node.name.value
        known = (
            parent.fields.get(name)
            if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType)
            else None
        )
        if known is None or parent is None:
            return SelectionCost(name, SelectionSetCost(0))
        own, below = self._sizes.of(parent, node, known, sizing)
        returned = get_named_type(known.type)
        weight = self._schema_costs.field(parent, name, returned)
        each = self._selection_set_cost(weight, node.selection_set, returned, below)
        writing = self._weights.mutation if parent.name == "Mutation" else 0
        once = self._inputs.of(parent, node, known.args, extra=writing)
        return SelectionCost(name, each, once=once, times=own, included=included)

    # @skip and @include

    def _included(self, selection: SelectionNode) -> VariableAmount | Literal[False] | None:
        """Whether a selection is included: False, None for always, or what the variables say."""
        found: list[VariableAmount] = []
        for directive in selection.directives or ():
            condition = self._condition(directive)
            if condition is False:
                return False
            if callable(condition):
                found.append(condition)
        if len(found) < 2:
            return found[0] if found else None
        return lambda variables: all(condition(variables) for condition in found)

    def _condition(self, directive: DirectiveNode) -> VariableAmount | bool:
        if directive.name.value not in ("skip", "include") or not directive.arguments:
            return True
        is_wanted = directive.name.value == "include"
        value = directive.arguments[0].value
        if not isinstance(value, VariableNode):
            return bool(value_from_ast_untyped(value)) is is_wanted
        name, default = value.name.value, self._defaults.get(value.name.value)
        return lambda variables: bool(variables.get(name, default)) is is_wanted
