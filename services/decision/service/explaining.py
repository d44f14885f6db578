"""Why: the trace of a decision that was made, or of one that might be."""

from collections.abc import Sequence
from typing import NamedTuple

from services.chassis.errors import nearest
from services.contracts.words import Channel
from services.decision.domain.compiled_catalogue import Compiled
from services.decision.domain.decision import decide
from services.decision.domain.explanation import explain, not_considered
from services.decision.domain.input_codec import unpacked
from services.decision.domain.trace import ActionTrace
from services.decision.service.catalogue_cache import Knowledge
from services.decision.service.deciding import Desk, Request, checked, look_up, situation
from services.decision.service.errors import UnknownAction
from services.decision.store.decisions import Decision


async def trace(knowledge: Knowledge, decision: Decision) -> Sequence[ActionTrace]:
    """The trace of a decision, however long ago: by the catalogue and facts of then."""
    catalogue = await knowledge.at(decision.catalogue_version)
    if catalogue is None:
        return ()
    propensity, at, stages = unpacked(
        decision.record,
        catalogue,
        decision.decided_for,
        Channel(decision.channel),
        decision.placement,
    )
    return explain(catalogue, propensity, at, stages)


class WhyNot(NamedTuple):
    """What would become of an action, by the catalogue of now."""

    trace: ActionTrace
    catalogue: Compiled


async def why_not(desk: Desk, request: Request, action: str) -> WhyNot:
    """What would become of an action if the request were made now. Nothing is kept or counted.

    It waits for the customer: of a stranger it would say what is not so. Raises Unavailable.
    """
    now = desk.clock()
    catalogue = _with_action(checked(desk, request, now), action)
    met = await look_up(desk, request)
    propensity = desk.knowledge.model().propensities
    at = situation(catalogue, request, met.customer, met.customer_id, now)
    verdict = decide(catalogue, propensity, at)
    for found in explain(catalogue, propensity, at, verdict.stages):
        if found.action == action:
            return WhyNot(found, catalogue)
    trace = not_considered(catalogue.catalogue, action, request.channel, request.placement)
    return WhyNot(trace, catalogue)


def _with_action(catalogue: Compiled | None, action: str) -> Compiled:
    """The catalogue, if it has the action; raises UnknownAction."""
    known = catalogue.position_of if catalogue else {}
    if catalogue is None or action not in known:
        raise UnknownAction(f"There is no action {action!r}.", hint=nearest(action, known))
    return catalogue
