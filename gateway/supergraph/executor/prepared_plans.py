"""What executing a plan takes beside the plan: prepared once, and dropped with the plan."""

from weakref import WeakKeyDictionary

from gateway.supergraph.executor.response import ResponseShape
from gateway.supergraph.executor.variables import VariableCoercion
from gateway.supergraph.planner.query_plan import PlanVariant, QueryPlan

_coercions: WeakKeyDictionary[QueryPlan, VariableCoercion] = WeakKeyDictionary()
_shapes: WeakKeyDictionary[PlanVariant, ResponseShape] = WeakKeyDictionary()


def prepare_coercion(plan: QueryPlan) -> VariableCoercion:
    coercion = _coercions.get(plan)
    if coercion is None:
        declared = plan.operation.variable_definitions or ()
        coercion = _coercions[plan] = VariableCoercion(plan.supergraph.schema, declared)
    return coercion


def prepare_shape(plan: QueryPlan, variant: PlanVariant) -> ResponseShape:
    shape = _shapes.get(variant)
    if shape is None:
        shape = ResponseShape(plan.supergraph, variant.root_type, variant.response_fields)
        _shapes[variant] = shape
    return shape
