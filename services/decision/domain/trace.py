"""The words of a trace: every action considered, and where it fell out."""

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


class Failed(NamedTuple):
    """What an action did not meet, and what was there instead."""

    condition: str
    seen: Any


class Scored(NamedTuple):
    """How an action that reached arbitration was weighed."""

    treatment: str
    propensity: float
    context_weight: float
    value_cents: int
    lever: float
    score: float
    rank: int
    """1 is best."""
    probability: float
    """That it is shown at this rank: 1 or 0 as long as ranking is deterministic."""


class ActionTrace(NamedTuple):
    """One action's way through a decision, to the stage it reached last."""

    action: str
    stage: Stage
    passed: bool
    """Whether it was shown."""
    failed: Sequence[Failed] = ()
    scored: Scored | None = None
