"""One caller's request: its prepared operation with the customers it names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from graphql import GraphQLSchema, is_input_type, type_from_ast

from gateway.access.authorization.customer_references import check_form, find_references
from gateway.access.limits.operation_limits import OperationLimits, check_variables
from gateway.access.selections import Argument
from gateway.pipeline.operation_facts import OperationFacts, coerce_variables
from gateway.pipeline.prepare import PreparedOperation
from gateway.pipeline.request import GraphQLRequest
from services.chassis.principal import Principal

CustomerReference: TypeAlias = tuple[Argument, Mapping[str, Any]]
"""A customer that is named in a request, and where."""


@dataclass(frozen=True, slots=True)
class CallerRequest:
    """What the steps after preparing look at."""

    prepared: PreparedOperation
    request: GraphQLRequest
    caller: Principal
    customers: Sequence[CustomerReference]

    @classmethod
    def read(
        cls,
        prepared: PreparedOperation,
        request: GraphQLRequest,
        caller: Principal,
        schema: GraphQLSchema,
        limits: OperationLimits,
    ) -> "CallerRequest":
        """With the customers of its variables; raises LimitExceeded or InvalidCustomerRef."""
        check_variables(request.variables, limits)
        customers = _find_customers(prepared.facts, request.variables, schema)
        return cls(prepared, request, caller, customers)


def _find_customers(
    operation: OperationFacts, variables: Mapping[str, Any], schema: GraphQLSchema
) -> Sequence[CustomerReference]:
    """The customers named, as the services get them; none if they will get nothing: variables that
    are not what is declared are left to execution, which says how.
    """
    if not operation.references:
        return ()
    coerced = coerce_variables(operation.reference_variables, variables, schema)
    if coerced is None:
        for declared in operation.reference_variables:
            name, type_ = declared.variable.name.value, type_from_ast(schema, declared.type)
            assert is_input_type(type_), "a valid operation declares input types"
            check_form(f"${name}", variables.get(name), type_)
        return ()
    return [
        (argument, reference)
        for argument in operation.references
        for reference in find_references(argument.value_with(coerced), argument.type)
    ]
