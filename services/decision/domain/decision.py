"""One decision: the filters in their order, then arbitration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.decision.domain.arbitration import ranked, scores
from services.decision.domain.catalogue import Action, Treatment
from services.decision.domain.compiled_catalogue import Compiled, Slate
from services.decision.domain.decision_input import Situation
from services.decision.domain.filters import FILTERS, View, view
from services.decision.domain.reasons import composed
from services.decision.domain.trace import STAGES, Scored, Stage

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Positions = NDArray[np.intp]
Stages = NDArray[np.uint8]

ARBITRATION = STAGES.index(Stage.ARBITRATION)
CONTROL_GROUP = STAGES.index(Stage.CONTROL_GROUP)


class Proposed(NamedTuple):
    """An action to be shown, as it will look."""

    action: Action
    treatment: Treatment
    content: Any
    reason: str
    scored: Scored


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided."""

    proposed: Sequence[Proposed] = ()
    stages: bytes = b""
    """The number of the stage that each action considered reached last, in catalogue order."""
    withheld: Sequence[str] = ()
    """Actions only a control group kept back."""
    control_group: str | None = None


class Weighed(NamedTuple):
    """The treatments that reached arbitration, best first, one of each action.

    Positions are those of the catalogue; all have shape (k,).
    """

    action: Positions
    treatment: Positions
    propensity: Floats
    context_weight: Floats
    value_cents: NDArray[np.int64]
    lever: Floats
    score: Floats

    def scored(self, catalogue: Compiled, place: int, shown: int) -> Scored:
        """How the one at a place, from 0, was weighed when the first `shown` are shown."""
        return Scored(
            treatment=catalogue.treatments[self.treatment[place]].key,
            propensity=float(self.propensity[place]),
            context_weight=float(self.context_weight[place]),
            value_cents=int(self.value_cents[place]),
            lever=float(self.lever[place]),
            score=float(self.score[place]),
            rank=place + 1,
            probability=1.0 if place < shown else 0.0,
        )


def decide(catalogue: Compiled, propensity: Floats, situation: Situation) -> Verdict:
    """Decide what to show.

    Args:
        catalogue: The version to decide by; it has the situation's channel and placement.
        propensity: Shape (m,). Of every treatment of the catalogue, each in [0, 1].
        situation: Who, where, when.

    Considered are the actions with a treatment for the channel and placement. Equal scores keep
    the order of the catalogue, so the same arguments always give the same verdict.

    Raises:
        InvalidPropensity: The propensity of a treatment that reached arbitration is none.
    """
    slate = catalogue.slates[situation.channel, situation.placement]
    seen = view(catalogue, situation)
    reached = stages(seen, slate)
    weighed = weigh(seen, slate, propensity, reached == ARBITRATION)
    kept_back = slate.considered[reached == CONTROL_GROUP]
    return Verdict(
        proposed=[
            _proposed(seen, weighed, place, propensity)
            for place in range(min(shown_at_most(situation, slate), len(weighed.action)))
        ],
        stages=reached.tobytes(),
        withheld=[catalogue.actions[position].key for position in kept_back],
        control_group=_group_of(seen, kept_back),
    )


def shown_at_most(situation: Situation, slate: Slate) -> int:
    """How many propositions a decision has at most."""
    return min(situation.limit, slate.limit)


def stages(seen: View, slate: Slate) -> Stages:
    """The number of the stage each considered action reached last, shape (considered,)."""
    reached = np.full(len(seen.catalogue.actions), ARBITRATION, np.uint8)
    for number, (_, refuses) in reversed(list(enumerate(FILTERS))):
        reached[refuses(seen)] = number
    return reached[slate.considered]


def weigh(seen: View, slate: Slate, propensity: Floats, survives: Bools) -> Weighed:
    """Rank what survived the filters; `survives` runs along the considered actions."""
    left = np.zeros(len(seen.catalogue.actions), bool)
    left[slate.considered[survives]] = True
    in_running = left[slate.actions]
    treatment, action = slate.treatments[in_running], slate.actions[in_running]
    p, lever = propensity[treatment], seen.catalogue.lever[action]
    c, v = _context_weight(seen)[action], _value_cents(seen)[action]
    score = scores(p, c, v, lever)
    best = ranked(score, action)
    return Weighed(
        action=action[best],
        treatment=treatment[best],
        propensity=p[best],
        context_weight=c[best],
        value_cents=v[best],
        lever=lever[best],
        score=score[best],
    )


def _context_weight(seen: View) -> Floats:
    """Shape (n,). The product of the weights whose condition holds."""
    weights = seen.catalogue.context_weights
    weight = np.ones(len(seen.catalogue.actions))
    holds = seen.holds[weights.condition]
    np.multiply.at(weight, weights.action[holds], weights.amount[holds])
    return weight


def _value_cents(seen: View) -> NDArray[np.int64]:
    """Shape (n,). The first conditional value whose condition holds, else the constant one."""
    values = seen.catalogue.values_by
    value = seen.catalogue.value_cents
    if len(values.action):
        value = value.copy()
        for i in np.flatnonzero(seen.holds[values.condition]):
            value[values.action[i]] = int(values.amount[i])
    return value


def _group_of(seen: View, kept_back: Positions) -> str | None:
    """The first control group that kept something back."""
    for group in seen.groups:
        if group.withheld[kept_back].any():
            return group.group.key
    return None


def _proposed(seen: View, weighed: Weighed, place: int, propensity: Floats) -> Proposed:
    catalogue, facts = seen.catalogue, seen.situation.facts
    sources = {"traits": facts.traits, "context": facts.context, "event": facts.event}
    action, treatment = weighed.action[place], weighed.treatment[place]
    stated = catalogue.reasons[action]
    return Proposed(
        action=catalogue.actions[action],
        treatment=catalogue.treatments[treatment],
        content=catalogue.contents[treatment](sources),
        reason=stated(sources) if stated else _composed(seen, weighed, place, propensity),
        scored=weighed.scored(catalogue, place, place + 1),
    )


def _composed(seen: View, weighed: Weighed, place: int, propensity: Floats) -> str:
    """A reason for an action whose author wrote none: what raised it most, if that has words."""
    weights = seen.catalogue.context_weights
    action = int(weighed.action[place])
    speaks = np.flatnonzero(seen.holds[weights.condition] & (weights.action == action)).tolist()
    told = [(weights.amount[i], because) for i in speaks if (because := weights.because[i])]
    return composed(
        seen.catalogue.actions[action],
        max(told)[1] if told else None,
        float(weighed.propensity[place]),
        float(propensity.mean()),
    )
