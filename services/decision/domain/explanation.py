"""Explains a decision from the input and the stages that are stored with it.

The stages say what happened; these functions apply the same filters again to find out why. That
is done rarely and costs ten times a decision, so it is never part of deciding.
"""

from collections.abc import Iterator

import numpy as np

from services.decision.domain.arrays import Floats
from services.decision.domain.catalogue import Catalogue
from services.decision.domain.compiled_catalogue import CompiledCatalogue
from services.decision.domain.decision import (
    ARBITRATION,
    ScoredCandidates,
    limit_propositions,
    score_candidates,
)
from services.decision.domain.decision_input import DecisionInput
from services.decision.domain.filters import build_filter_input, explain_refusal
from services.decision.domain.trace import STAGES, ActionTrace, FailedCondition, Stage


def explain(
    catalogue: CompiledCatalogue, propensity: Floats, decision_input: DecisionInput, stages: bytes
) -> list[ActionTrace]:
    """A trace of every action considered: what reached arbitration, best first, then the others.

    `stages` are those of the result; the other arguments are those of `decide`.
    """
    candidates = catalogue.candidates[decision_input.channel, decision_input.placement]
    filter_input = build_filter_input(catalogue, decision_input)
    is_eligible = np.frombuffer(stages, np.uint8) == ARBITRATION
    scored = score_candidates(filter_input, candidates, propensity, is_eligible)
    refused = [
        ActionTrace(
            catalogue.actions[position].key,
            STAGES[stage],
            False,
            explain_refusal(STAGES[stage], filter_input, position),
        )
        for position, stage in zip(candidates.unique_actions.tolist(), stages, strict=True)
        if stage != ARBITRATION
    ]
    limit = limit_propositions(decision_input, candidates)
    return [*_trace_scored(catalogue, scored, limit), *refused]


def _trace_scored(
    catalogue: CompiledCatalogue, scored: ScoredCandidates, limit: int
) -> Iterator[ActionTrace]:
    for index, position in enumerate(scored.action.tolist()):
        is_proposed = index < limit
        yield ActionTrace(
            catalogue.actions[position].key,
            Stage.ARBITRATION,
            is_proposed,
            () if is_proposed else (FailedCondition(f"rank is at most {limit}", index + 1),),
            scored.describe(catalogue, index, limit),
        )


def explain_absence(catalogue: Catalogue, action: str, channel: str, placement: str) -> ActionTrace:
    """The trace of an action that has no treatment for a channel and placement."""
    existing = [
        f"{treatment.channel} {key}"
        for candidate in catalogue.actions
        if candidate.key == action
        for treatment in candidate.treatments
        for key in treatment.placements
    ]
    condition = f"has a treatment for {placement} on {channel}"
    return ActionTrace(
        action,
        Stage.VALIDITY,
        False,
        (FailedCondition(condition, ", ".join(existing) or "no treatment at all"),),
    )
