"""Traces: of a decision that was made, or of one that might be."""

from collections.abc import Sequence

from services.chassis.errors import nearest
from services.contracts.enums import Channel
from services.decision.domain.compiled_catalogue import CompiledCatalogue
from services.decision.domain.decision import decide
from services.decision.domain.explanation import explain, explain_absence
from services.decision.domain.input_codec import unpack_input
from services.decision.domain.trace import ActionTrace
from services.decision.service.deciding import (
    DecisionContext,
    DecisionRequest,
    build_decision_input,
    check_request,
    load_customer,
)
from services.decision.service.errors import UnknownAction
from services.decision.store.decisions import DecisionRecord


def explain_decision(
    catalogue: CompiledCatalogue, decision: DecisionRecord
) -> Sequence[ActionTrace]:
    """The trace of a decision, however old, by the version of the catalogue it was made by."""
    propensity, decision_input, stages = unpack_input(
        decision.packed_input,
        catalogue,
        decision.decided_for,
        Channel(decision.channel),
        decision.placement,
    )
    return explain(catalogue, propensity, decision_input, stages)


async def explain_why_not(
    context: DecisionContext, request: DecisionRequest, action: str
) -> tuple[ActionTrace, CompiledCatalogue]:
    """What would become of an action if the request were made now, and the catalogue in force.

    Nothing is stored or counted.
    It waits for the customer: explained as of a stranger it would be wrong. Raises Unavailable.
    """
    now = context.clock()
    catalogue = check_request(context, request, now)
    if catalogue is None or action not in catalogue.position_of:
        actions = catalogue.position_of if catalogue else ()
        raise UnknownAction(f"There is no action {action!r}.", hint=nearest(action, actions))
    customer = await load_customer(context, request)
    propensity = context.catalogue_cache.get_model().propensities
    decision_input = build_decision_input(catalogue, request, customer, now)
    result = decide(catalogue, propensity, decision_input)
    for trace in explain(catalogue, propensity, decision_input, result.stages):
        if trace.action == action:
            return trace, catalogue
    trace = explain_absence(catalogue.catalogue, action, request.channel, request.placement)
    return trace, catalogue
