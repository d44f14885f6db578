"""Why a decision came out as it did, told from what it was made of.

A decision keeps what it looked at and the stage each action reached. The record says what
happened; these functions look again through the same filters for the words. They are asked for
rarely and cost ten times a decision, so nothing here is on the way to an answer.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from services.decision.domain.catalogue import Catalogue
from services.decision.domain.compiled_catalogue import Compiled
from services.decision.domain.decision import ARBITRATION, Floats, Weighed, shown_at_most, weigh
from services.decision.domain.decision_input import Situation
from services.decision.domain.filters import failed, view
from services.decision.domain.trace import STAGES, ActionTrace, Failed, Stage


def explain(
    catalogue: Compiled, propensity: Floats, situation: Situation, stages: bytes
) -> list[ActionTrace]:
    """A trace of every action considered: what was weighed, best first, then what fell out.

    `stages` are those of the verdict; the other arguments are those of `decide`.
    """
    slate = catalogue.slates[situation.channel, situation.placement]
    seen = view(catalogue, situation)
    reached = np.frombuffer(stages, np.uint8)
    weighed = weigh(seen, slate, propensity, reached == ARBITRATION)
    fallen = [
        ActionTrace(
            catalogue.actions[position].key,
            STAGES[stage],
            False,
            failed(STAGES[stage], seen, position),
        )
        for position, stage in zip(slate.considered.tolist(), stages, strict=True)
        if stage != ARBITRATION
    ]
    return [*_ranked(catalogue, weighed, shown_at_most(situation, slate)), *fallen]


def _ranked(catalogue: Compiled, weighed: Weighed, shown: int) -> Iterator[ActionTrace]:
    for place, position in enumerate(weighed.action.tolist()):
        is_shown = place < shown
        yield ActionTrace(
            catalogue.actions[position].key,
            Stage.ARBITRATION,
            is_shown,
            () if is_shown else (Failed(f"rank is at most {shown}", place + 1),),
            weighed.scored(catalogue, place, shown),
        )


def not_considered(catalogue: Catalogue, action: str, channel: str, placement: str) -> ActionTrace:
    """The trace of an action that has no treatment for a channel and placement."""
    found: Sequence[str] = [
        f"{treatment.channel} {place}"
        for one in catalogue.actions
        if one.key == action
        for treatment in one.treatments
        for place in treatment.placements
    ]
    told = f"has a treatment for {placement} on {channel}"
    return ActionTrace(
        action, Stage.VALIDITY, False, (Failed(told, ", ".join(found) or "no treatment at all"),)
    )
