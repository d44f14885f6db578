"""What a request costs with its variables."""

from gateway.access.limits.cost import check_cost
from gateway.access.limits.operation_limits import OperationLimits, check_page
from gateway.pipeline.caller_request import CallerRequest


def price(call: CallerRequest, limits: OperationLimits) -> int:
    """The cost of a request; raises LimitExceeded for too large a page, or too much of it all."""
    variables = call.request.variables
    facts = call.prepared.facts
    for page, variable in facts.pages:
        size = variables.get(variable, facts.defaults.get(variable))
        check_page(page.place, page.name, size, limits)
    return check_cost(call.prepared.cost, variables, limits)
