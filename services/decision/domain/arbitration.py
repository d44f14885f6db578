"""Arbitration: which of the actions that may be shown is worth showing first."""

import numpy as np

from services.chassis.errors import RaakError
from services.decision.domain.arrays import Cents, Floats, Positions


class InvalidPropensity(RaakError, code="DECISION_INVALID_PROPENSITY"):
    """A propensity lies outside [0, 1] or is not a number."""

    def __init__(self, candidate: int, propensity: float) -> None:
        super().__init__(
            f"Propensity of candidate {candidate} is {propensity!r}, outside [0, 1].",
            hint="Pass probabilities, not log-odds: apply `sigmoid` to raw scores.",
        )


def compute_scores(
    propensity: Floats,
    context_weight: Floats,
    value_cents: Cents,
    lever: Floats,
) -> Floats:
    """The priority of candidates, in expected cents weighed by context and business.

    Args:
        propensity: Shape (n,). P(accepts | presented), each in [0, 1].
        context_weight: Shape (n,). How well it fits the moment, dimensionless; 1.0 is neutral.
        value_cents: Shape (n,). Margin if accepted, in minor currency units.
        lever: Shape (n,). Business weight, dimensionless; 1.0 is neutral.

    Raises:
        InvalidPropensity: A propensity is outside [0, 1] or NaN.

    Source:
        Pega Customer Decision Hub user guide 8.6, "Arbitration": priority = P x C x V x L.
    """
    wrong = ~((propensity >= 0) & (propensity <= 1))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InvalidPropensity(first, float(propensity[first]))
    return propensity * context_weight * value_cents * lever


def rank_candidates(score: Floats, action: Positions) -> Positions:
    """Order candidates best first, with the best treatment of each action only.

    Args:
        score: Shape (n,).
        action: Shape (n,). Which action each candidate is a treatment of.

    Returns:
        Positions in the inputs, shape (k,) with k = number of different actions. Equal scores
        keep their input order, so a decision can be replayed.
    """
    order = np.argsort(-score, kind="stable")
    _, first = np.unique(action[order], return_index=True)
    first.sort()
    return order[first]
