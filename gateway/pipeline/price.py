"""What a request costs with its variables."""

from gateway.access.limits.cost import check_cost
from gateway.access.limits.operation_limits import OperationLimits, check_page
from gateway.pipeline.prepare import PreparedOperation
from gateway.pipeline.request import GraphQLRequest


def price(prepared: PreparedOperation, request: GraphQLRequest, limits: OperationLimits) -> int:
    """The cost of a request; raises LimitExceeded for too large a page, or too much of it all."""
    for page in prepared.operation.pages:
        check_page(page.place, page.name, page.size_with(request.variables), limits)
    return check_cost(prepared.cost, request.variables, limits)
