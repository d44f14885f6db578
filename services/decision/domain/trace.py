"""A trace: every action a decision considered, the stage it reached last, and why."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple


class Stage(StrEnum):
    """What an action must pass, in this order."""

    CONSENT = "CONSENT"
    VALIDITY = "VALIDITY"
    ELIGIBILITY = "ELIGIBILITY"
    APPLICABILITY = "APPLICABILITY"
    SUITABILITY = "SUITABILITY"
    CONTACT_POLICY = "CONTACT_POLICY"
    CONTROL_GROUP = "CONTROL_GROUP"
    ARBITRATION = "ARBITRATION"


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
