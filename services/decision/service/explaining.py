"""Traces: of a decision that was made, or of one that might be."""

from collections.abc import Sequence
from typing import NamedTuple

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


class WhyNot(NamedTuple):
    """The trace of an action in a decision that is not made, and the catalogue in force."""

    trace: ActionTrace
    catalogue: CompiledCatalogue


async def explain_why_not(
    context: DecisionContext, request: DecisionRequest, action: str
) -> WhyNot:
    """What would become of an action if the request were made now. Nothing is stored or counted.

    It waits for the customer: explained as of a stranger it would be wrong. Raises Unavailable.
    """
    now = context.clock()
    catalogue = _require_action(check_request(context, request, now), action)
    customer = await load_customer(context, request)
    propensity = context.catalogue_cache.get_model().propensities
    decision_input = build_decision_input(catalogue, request, customer, now)
    result = decide(catalogue, propensity, decision_input)
    for trace in explain(catalogue, propensity, decision_input, result.stages):
        if trace.action == action:
            return WhyNot(trace, catalogue)
    trace = explain_absence(catalogue.catalogue, action, request.channel, request.placement)
    return WhyNot(trace, catalogue)


def _require_action(catalogue: CompiledCatalogue | None, action: str) -> CompiledCatalogue:
    actions = catalogue.position_of if catalogue else {}
    if catalogue is None or action not in actions:
        raise UnknownAction(f"There is no action {action!r}.", hint=nearest(action, actions))
    return catalogue
