"""From a document, which need not be valid, to the query plan of one of its operations."""

from collections.abc import Mapping

from graphql import DocumentNode, GraphQLError, parse, specified_rules, validate

from gateway.supergraph.errors import CannotPlan, OperationRefused
from gateway.supergraph.operation import Operation
from gateway.supergraph.planner.one_of_variables import OneOfVariablesRule
from gateway.supergraph.planner.query_plan import QueryPlan, plan
from gateway.supergraph.planner.selection_tree import NO_ENTITY_ID_FIELDS
from gateway.supergraph.supergraph import Supergraph

MAX_TOKENS = 10_000
MAX_VALIDATION_ERRORS = 20
RULES = (*specified_rules, OneOfVariablesRule)


def plan_document(
    supergraph: Supergraph,
    document: DocumentNode | str,
    operation: Operation | str | None = None,
    *,
    entity_id_fields: Mapping[str, str] = NO_ENTITY_ID_FIELDS,
) -> QueryPlan:
    """Validate a document, and plan one of its operations.

    Args:
        operation: The operation, or its name; None if there is only one.
        entity_id_fields: By type, a field that every object of it is to be fetched with, if that
            costs no fetch of its own.

    Raises:
        OperationRefused: The document can't be parsed, or is not valid.
        UnknownOperation: It has no such operation.
        NotIdempotentInSubscription: A subscription selects what may not be fetched repeatedly.
        CannotPlan: It is too large.
    """
    try:
        if isinstance(document, str):
            document = parse(document, max_tokens=MAX_TOKENS)
        if not isinstance(operation, Operation):
            operation = Operation.choose(document, operation)
        if errors := validate(supergraph.schema, document, RULES, MAX_VALIDATION_ERRORS):
            raise OperationRefused([_describe(error) for error in errors])
        return plan(supergraph, operation, entity_id_fields=entity_id_fields)
    except GraphQLError as error:
        raise OperationRefused([_describe(error, "GRAPHQL_PARSE_FAILED")]) from None
    except RecursionError:
        raise CannotPlan(
            "The operation is nested too deeply.", hint="Nest its selections less."
        ) from None


def _describe(error: GraphQLError, code: str = OperationRefused.code) -> dict[str, object]:
    description: dict[str, object] = {"message": error.message}
    if error.locations:
        description["locations"] = [
            {"line": at.line, "column": at.column} for at in error.locations
        ]
    hint = "Check the operation against the schema."
    description["extensions"] = {"code": code, "hint": hint} | dict(error.extensions or {})
    return description
