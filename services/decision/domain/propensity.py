"""Propensities from counted outcomes: how likely an action is accepted when it is presented.

Evidence is counted per action, channel and treatment, and shrunk level by level towards the one
above, so that a new treatment begins where its action stands on that channel, a new channel where
the action stands, and a new action where the average action stands:

    p(all)                        = (k * default + positives) / (k + presented)
    p(action)                     = (k * p(all)    + positives) / (k + presented)
    p(action, channel)            = (k * p(action) + positives) / (k + presented)
    p(action, channel, treatment) = (k * p(action, channel) + positives) / (k + presented)

with the counts of the level at hand, and k the catalogue's `learning.strength`. An action that
states its own starting propensity begins there instead of at p(all). With k = 1 and a start of 0.5
the second line is Pega's form for a new action, (0.5 + positives) / (1 + presented).
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from services.decision.domain.arrays import Floats


class Arm(NamedTuple):
    """What is presented, and where: what outcomes are counted by."""

    action: str
    channel: str
    treatment: str


class Tally(NamedTuple):
    """How often an arm was presented, and in how many of these it was accepted or converted."""

    presented: int
    positives: int

    def subtract(self, earlier: "Tally") -> "Tally":
        return Tally(self.presented - earlier.presented, self.positives - earlier.positives)


def shrink(counts: Floats, above: Floats | float, strength: float) -> Floats:
    """The share of positives, drawn towards `above` with the weight of `strength` presentations.

    `counts` has presentations in row 0 and positives in row 1.
    """
    presented, positives = counts
    estimate: Floats = (strength * above + positives) / (strength + presented)
    return estimate


class Levels:
    """The actions, channels and arms of a version of the catalogue, and which is above which."""

    def __init__(
        self,
        arms: Iterable[Arm],
        priors: Mapping[str, float],
        *,
        strength: float,
        default: float,
    ) -> None:
        arms = tuple(arms)
        self._strength = strength
        self._default = default
        actions = list(dict.fromkeys(arm.action for arm in arms))
        channels = list(dict.fromkeys(arm[:2] for arm in arms))
        self._action_at = {action: position for position, action in enumerate(actions)}
        self._channel_at = {key: position for position, key in enumerate(channels)}
        self._arm_at = {arm: position for position, arm in enumerate(arms)}
        self._action_of_channel = np.array([self._action_at[a] for a, _ in channels], np.intp)
        self._channel_of_arm = np.array([self._channel_at[arm[:2]] for arm in arms], np.intp)
        self._prior = np.array([priors.get(action, np.nan) for action in actions])

    def build_evidence(self, counts: Mapping[Arm, Tally]) -> "Evidence":
        """Counts per level. What was counted for a treatment that the catalogue no longer has still
        counts for its action, and for its channel if another treatment uses it.
        """
        evidence = Evidence(len(self._action_at), len(self._channel_at), len(self._arm_at))
        for arm, tally in counts.items():
            self.add(evidence, arm, tally)
        return evidence

    def add(self, evidence: "Evidence", arm: Arm, tally: Tally) -> None:
        evidence.total += tally
        evidence.observations += sum(tally)
        for level, position in (
            (evidence.by_action, self._action_at.get(arm.action)),
            (evidence.by_channel, self._channel_at.get(arm[:2])),
            (evidence.by_arm, self._arm_at.get(arm)),
        ):
            if position is not None:
                level[:, position] += tally

    def compute_propensities(self, evidence: "Evidence") -> Floats:
        """The propensity of every arm, shape (number of arms,), each in (0, 1)."""
        k = self._strength
        everything = shrink(evidence.total, self._default, k)
        start = np.where(np.isnan(self._prior), everything, self._prior)
        action = shrink(evidence.by_action, start, k)
        channel = shrink(evidence.by_channel, action[self._action_of_channel], k)
        return shrink(evidence.by_arm, channel[self._channel_of_arm], k)


class Evidence:
    """Counts per level: arrays of shape (2, n), presented above positives."""

    def __init__(self, actions: int, channels: int, arms: int) -> None:
        self.total = np.zeros(2)
        self.by_action = np.zeros((2, actions))
        self.by_channel = np.zeros((2, channels))
        self.by_arm = np.zeros((2, arms))
        self.observations = 0
        """Everything counted; it grows with every outcome, so it names the state of the model."""
