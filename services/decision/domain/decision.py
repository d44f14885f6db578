"""One decision: the filters in their order, then arbitration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from services.decision.domain.arbitration import compute_scores, rank_candidates
from services.decision.domain.arrays import Bools, Cents, Floats, Positions, StageNumbers
from services.decision.domain.catalogue import Action, Treatment
from services.decision.domain.compiled_catalogue import CompiledCatalogue, PlacementCandidates
from services.decision.domain.decision_input import DecisionInput
from services.decision.domain.filters import FILTERS, FilterInput, build_filter_input
from services.decision.domain.reasons import compose_reason
from services.decision.domain.trace import STAGES, ArbitrationResult, Stage

ARBITRATION = STAGES.index(Stage.ARBITRATION)
CONTROL_GROUP = STAGES.index(Stage.CONTROL_GROUP)


class ProposedAction(NamedTuple):
    action: Action
    treatment: Treatment
    content: Any
    reason: str
    arbitration: ArbitrationResult


@dataclass(frozen=True, slots=True)
class DecisionResult:
    """What was decided for one customer at one moment."""

    propositions: Sequence[ProposedAction] = ()
    """Best first."""
    stages: bytes = b""
    """The number of the stage that each action considered reached last, in catalogue order."""
    withheld: Sequence[str] = ()
    """Actions that only a control group withheld."""
    control_group: str | None = None


class ScoredCandidates(NamedTuple):
    """The treatments that reached arbitration, best first, one of each action.

    Positions are those of the catalogue; all have shape (k,).
    """

    action: Positions
    treatment: Positions
    propensity: Floats
    context_weight: Floats
    value_cents: Cents
    lever: Floats
    score: Floats

    def describe(self, catalogue: CompiledCatalogue, index: int, limit: int) -> ArbitrationResult:
        """The numbers of one candidate, by its index from 0; the first `limit` are presented."""
        return ArbitrationResult(
            treatment=catalogue.treatments[self.treatment[index]].key,
            propensity=float(self.propensity[index]),
            context_weight=float(self.context_weight[index]),
            value_cents=int(self.value_cents[index]),
            lever=float(self.lever[index]),
            score=float(self.score[index]),
            rank=index + 1,
            probability=1.0 if index < limit else 0.0,
        )


def decide(
    catalogue: CompiledCatalogue, propensity: Floats, decision_input: DecisionInput
) -> DecisionResult:
    """Decide what to propose.

    Args:
        catalogue: The version to decide by; it has the channel and placement of the input.
        propensity: Shape (m,). Of every treatment of the catalogue, each in [0, 1].
        decision_input: Customer, placement, moment, and what is known of them.

    The actions with a treatment for the channel and placement are considered. Equal scores keep
    the order of the catalogue, so the same arguments always give the same result.

    Raises:
        InvalidPropensity: The propensity of a treatment that reached arbitration is not one.
    """
    candidates = catalogue.candidates[decision_input.channel, decision_input.placement]
    filter_input = build_filter_input(catalogue, decision_input)
    stages = find_stages(filter_input, candidates)
    scored = score_candidates(filter_input, candidates, propensity, stages == ARBITRATION)
    withheld = candidates.unique_actions[stages == CONTROL_GROUP]
    count = min(limit_propositions(decision_input, candidates), len(scored.action))
    return DecisionResult(
        propositions=[_propose(filter_input, scored, index, propensity) for index in range(count)],
        stages=stages.tobytes(),
        withheld=[catalogue.actions[position].key for position in withheld],
        control_group=_find_control_group(filter_input, withheld),
    )


def limit_propositions(decision_input: DecisionInput, candidates: PlacementCandidates) -> int:
    return min(decision_input.limit, candidates.limit)


def find_stages(filter_input: FilterInput, candidates: PlacementCandidates) -> StageNumbers:
    """The number of the stage each action reached last, shape (unique actions,)."""
    stages = np.full(len(filter_input.catalogue.actions), ARBITRATION, np.uint8)
    for number, (_, refuse) in reversed(list(enumerate(FILTERS))):
        stages[refuse(filter_input)] = number
    return stages[candidates.unique_actions]


def score_candidates(
    filter_input: FilterInput,
    candidates: PlacementCandidates,
    propensity: Floats,
    is_eligible: Bools,
) -> ScoredCandidates:
    """Rank the actions that passed the filters; `is_eligible` is along the unique actions."""
    is_action_eligible = np.zeros(len(filter_input.catalogue.actions), bool)
    is_action_eligible[candidates.unique_actions[is_eligible]] = True
    chosen = is_action_eligible[candidates.actions]
    treatment, action = candidates.treatments[chosen], candidates.actions[chosen]
    p, lever = propensity[treatment], filter_input.catalogue.lever[action]
    c, v = _compute_context_weight(filter_input)[action], _find_value(filter_input)[action]
    score = compute_scores(p, c, v, lever)
    best = rank_candidates(score, action)
    return ScoredCandidates(
        action=action[best],
        treatment=treatment[best],
        propensity=p[best],
        context_weight=c[best],
        value_cents=v[best],
        lever=lever[best],
        score=score[best],
    )


def _compute_context_weight(filter_input: FilterInput) -> Floats:
    """Shape (n,). The product of the weights whose condition holds."""
    weights = filter_input.catalogue.context_weights
    weight = np.ones(len(filter_input.catalogue.actions))
    holds = filter_input.holds[weights.condition]
    np.multiply.at(weight, weights.action[holds], weights.amount[holds])
    return weight


def _find_value(filter_input: FilterInput) -> Cents:
    """Shape (n,). The first conditional value whose condition holds, else the constant one."""
    values = filter_input.catalogue.values_by
    value = filter_input.catalogue.value_cents
    if len(values.action):
        value = value.copy()
        for i in np.flatnonzero(filter_input.holds[values.condition]):
            value[values.action[i]] = int(values.amount[i])
    return value


def _find_control_group(filter_input: FilterInput, withheld: Positions) -> str | None:
    for group in filter_input.control_groups:
        if group.withheld[withheld].any():
            return group.definition.key
    return None


def _propose(
    filter_input: FilterInput, scored: ScoredCandidates, index: int, propensity: Floats
) -> ProposedAction:
    catalogue, facts = filter_input.catalogue, filter_input.decision_input.facts
    sources = {"traits": facts.traits, "context": facts.context, "event": facts.event}
    action, treatment = scored.action[index], scored.treatment[index]
    fill_reason = catalogue.reasons[action]
    return ProposedAction(
        action=catalogue.actions[action],
        treatment=catalogue.treatments[treatment],
        content=catalogue.contents[treatment](sources),
        reason=(
            fill_reason(sources)
            if fill_reason
            else _compose_reason(filter_input, scored, index, propensity)
        ),
        arbitration=scored.describe(catalogue, index, index + 1),
    )


def _compose_reason(
    filter_input: FilterInput, scored: ScoredCandidates, index: int, propensity: Floats
) -> str:
    """A reason for an action whose author wrote none: what raised it most, if that has a text."""
    weights = filter_input.catalogue.context_weights
    action = int(scored.action[index])
    raised_by = np.flatnonzero(
        filter_input.holds[weights.condition] & (weights.action == action)
    ).tolist()
    texts = [(weights.amount[i], because) for i in raised_by if (because := weights.because[i])]
    return compose_reason(
        filter_input.catalogue.actions[action],
        max(texts)[1] if texts else None,
        float(scored.propensity[index]),
        float(propensity.mean()),
    )
