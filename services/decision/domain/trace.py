"""A trace: every action a decision considered, the stage it reached last, and why."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple


class Stage(StrEnum):
    """What an action must pass to be proposed, in the order CONSENT, VALIDITY, ELIGIBILITY,
    APPLICABILITY, SUITABILITY, CONTACT_POLICY, CONTROL_GROUP, ARBITRATION.
    """

    CONSENT = "CONSENT"
    """The customer agreed to all purposes it needs."""
    VALIDITY = "VALIDITY"
    """It is active, and now is between its dates."""
    ELIGIBILITY = "ELIGIBILITY"
    """They may have it at all."""
    APPLICABILITY = "APPLICABILITY"
    """They can get it now."""
    SUITABILITY = "SUITABILITY"
    """It is good for them."""
    CONTACT_POLICY = "CONTACT_POLICY"
    """They have not heard too much of it, said no lately, or have a quiet hour."""
    CONTROL_GROUP = "CONTROL_GROUP"
    """They are in no group that it is withheld from to measure its effect."""
    ARBITRATION = "ARBITRATION"
    """It is compared with the others by score; the best ones are proposed."""


STAGES = tuple(Stage)


class FailedCondition(NamedTuple):
    condition: str
    actual: Any


class ArbitrationResult(NamedTuple):
    treatment: str
    propensity: float
    context_weight: float
    value_cents: int
    lever: float
    score: float
    rank: int
    """1 is best."""
    probability: float
    """Of being presented at this rank: 1 or 0 as long as ranking is deterministic."""


class ActionTrace(NamedTuple):
    """One action's way through a decision, to the stage it reached last."""

    action: str
    stage: Stage
    passed: bool
    failed: Sequence[FailedCondition] = ()
    arbitration: ArbitrationResult | None = None
