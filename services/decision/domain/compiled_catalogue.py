"""A catalogue made ready to decide with: conditions fused, policies laid along its actions.

Arrays of shape (n,) run along the actions of the catalogue, in its order; arrays of shape (m,) run
along their treatments, action by action.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.contracts.words import Channel
from services.decision.domain import contact_policies
from services.decision.domain.catalogue import (
    Action,
    ActionStatus,
    Catalogue,
    ControlGroup,
    Treatment,
)
from services.decision.domain.catalogue_validation import flaws, personal
from services.decision.domain.propensity import Arm, Levels
from services.decision.domain.trace import Stage
from services.rules import (
    Condition,
    ConditionError,
    Declaration,
    DocumentPath,
    Flaw,
    RuleSet,
    SeriesSet,
    compile_rules,
    parse,
)
from services.rules.template import Fill

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Positions = NDArray[np.intp]

GATES = (Stage.ELIGIBILITY, Stage.APPLICABILITY, Stage.SUITABILITY)
EVER = float("inf")


class FlawedCatalogue(ValueError):
    """A catalogue that cannot be decided with, and all that is wrong with it."""

    def __init__(self, found: Sequence[Flaw]) -> None:
        super().__init__(f"{len(found)} flaws")
        self.flaws = found


class Gate(NamedTuple):
    """The conditions of one stage: `action[i]` must meet condition `condition[i]`."""

    stage: Stage
    action: Positions
    condition: Positions
    of_action: Mapping[int, Sequence[int]]
    """The conditions of each action that has any."""


class Weights(NamedTuple):
    """What conditions change: `amount[i]` goes to `action[i]` where `condition[i]` holds."""

    action: Positions
    condition: Positions
    amount: Floats
    because: Sequence[str | None]


class Slate(NamedTuple):
    """What can appear in one placement on one channel, in the order of the catalogue."""

    limit: int
    treatments: Positions
    actions: Positions
    """The action of each of these treatments."""
    considered: Positions
    """These actions, each once."""


class Group(NamedTuple):
    """A control group, and which actions it withholds, shape (n,)."""

    group: ControlGroup
    withheld: Bools


@dataclass(frozen=True, eq=False)
class Compiled:
    """One version of the catalogue, ready to decide with."""

    version: int
    catalogue: Catalogue
    rules: RuleSet
    series: SeriesSet
    declaration: Declaration
    """Since which version of the catalogue these series have been asked for."""
    position_of: Mapping[str, int]
    treatments: Sequence[Treatment]
    action_of: Positions
    """Shape (m,). The action of each treatment."""
    contents: Sequence[Fill]
    reasons: Sequence[Fill | None]
    paused: Bools
    valid_from_s: Floats
    valid_until_s: Floats
    purposes: Mapping[str, Bools]
    """Every purpose, with the actions that need consent to it."""
    gates: Sequence[Gate]
    value_cents: NDArray[np.int64]
    values_by: Weights
    context_weights: Weights
    lever: Floats
    limits: Sequence[contact_policies.Limit]
    silences: Sequence[contact_policies.Silence]
    memory: timedelta
    """How far back contacts matter."""
    kinds_of_interest: Sequence[str]
    control_groups: Sequence[Group]
    levels: Levels
    slates: Mapping[tuple[Channel, str], Slate]
    placements: Mapping[str, frozenset[Channel]]

    @property
    def actions(self) -> Sequence[Action]:
        """The actions, in order."""
        return self.catalogue.actions


def compiled(version: int, catalogue: Catalogue) -> Compiled:
    """Make a catalogue ready, the first of its kind; raises FlawedCatalogue when it cannot be."""
    conditions = _Conditions()
    gates = [_gate(stage, catalogue.actions, conditions) for stage in GATES]
    values_by = _values_by(catalogue.actions, conditions)
    context_weights = _context_weights(catalogue.actions, conditions)
    if found := [*flaws(catalogue), *conditions.flaws]:
        raise FlawedCatalogue(found)
    rules = compile_rules(conditions.parsed)
    series = SeriesSet(rules.needs.series)
    limits = contact_policies.limits(catalogue)
    actions = catalogue.actions
    return Compiled(
        version=version,
        catalogue=catalogue,
        rules=rules,
        series=series,
        declaration=Declaration().extend(version, series.series.values()),
        position_of={action.key: position for position, action in enumerate(actions)},
        treatments=[treatment for action in actions for treatment in action.treatments],
        action_of=_positions(p for p, action in enumerate(actions) for _ in action.treatments),
        contents=[personal(t.content).fill for action in actions for t in action.treatments],
        reasons=[personal(a.reason).fill if a.reason else None for a in actions],
        paused=np.array([action.status is ActionStatus.PAUSED for action in actions], bool),
        valid_from_s=np.array([_seconds(action.valid_from, -EVER) for action in actions]),
        valid_until_s=np.array([_seconds(action.valid_until, EVER) for action in actions]),
        purposes=_purposes(actions),
        gates=gates,
        value_cents=np.array([action.value_cents for action in actions], np.int64),
        values_by=values_by,
        context_weights=context_weights,
        lever=np.array([action.lever for action in actions], np.float64),
        limits=limits,
        silences=contact_policies.silences(catalogue),
        memory=contact_policies.memory(limits),
        kinds_of_interest=contact_policies.kinds_of_interest(limits),
        control_groups=_control_groups(catalogue),
        levels=_levels(catalogue),
        slates=_slates(catalogue),
        placements={p.key: frozenset(p.channels) for p in catalogue.placements},
    )


class _Conditions:
    """Numbers conditions as they are met, and collects what is wrong with them."""

    def __init__(self) -> None:
        self.parsed: list[Condition] = []
        self.flaws: list[Flaw] = []

    def add(self, text: str, place: DocumentPath) -> int:
        """The number of a condition in the rules."""
        try:
            self.parsed.append(parse(text))
        except ConditionError as error:
            self.flaws.append(Flaw.from_error(error, place))
        return len(self.parsed) - 1


def _gate(stage: Stage, actions: Sequence[Action], conditions: _Conditions) -> Gate:
    field = stage.lower()
    of_action = {
        number: [
            conditions.add(text, ("actions", number, field, position))
            for position, text in enumerate(getattr(action, field))
        ]
        for number, action in enumerate(actions)
        if getattr(action, field)
    }
    pairs = [(action, number) for action, numbers in of_action.items() for number in numbers]
    return Gate(stage, _positions(a for a, _ in pairs), _positions(c for _, c in pairs), of_action)


def _values_by(actions: Sequence[Action], conditions: _Conditions) -> Weights:
    """Last ones first, so that of those that hold the first one is laid on last, and counts."""
    rows = [
        (
            number,
            conditions.add(value.when, ("actions", number, "value_by", position, "when")),
            float(value.cents),
            None,
        )
        for number, action in enumerate(actions)
        for position, value in reversed(list(enumerate(action.value_by)))
    ]
    return _weights(rows)


def _context_weights(actions: Sequence[Action], conditions: _Conditions) -> Weights:
    rows = [
        (
            number,
            conditions.add(weight.when, ("actions", number, "context_weights", position, "when")),
            1 + weight.weight / 100,
            weight.because,
        )
        for number, action in enumerate(actions)
        for position, weight in enumerate(action.context_weights)
    ]
    return _weights(rows)


def _weights(rows: Sequence[tuple[int, int, float, str | None]]) -> Weights:
    return Weights(
        _positions(action for action, _, _, _ in rows),
        _positions(condition for _, condition, _, _ in rows),
        np.array([amount for _, _, amount, _ in rows], np.float64),
        [because for _, _, _, because in rows],
    )


def _purposes(actions: Sequence[Action]) -> dict[str, Bools]:
    names = dict.fromkeys(purpose for action in actions for purpose in action.consent)
    return {name: np.array([name in a.consent for a in actions], bool) for name in names}


def _control_groups(catalogue: Catalogue) -> list[Group]:
    return [
        Group(group, np.array([group.withholds.holds(a) for a in catalogue.actions], bool))
        for group in catalogue.control_groups
    ]


def _levels(catalogue: Catalogue) -> Levels:
    return Levels(
        (Arm(a.key, t.channel, t.key) for a in catalogue.actions for t in a.treatments),
        {a.key: a.propensity for a in catalogue.actions if a.propensity is not None},
        strength=catalogue.learning.strength,
        default=catalogue.learning.default_propensity,
    )


def _slates(catalogue: Catalogue) -> dict[tuple[Channel, str], Slate]:
    found: dict[tuple[Channel, str], list[tuple[int, int]]] = {
        (channel, placement.key): []
        for placement in catalogue.placements
        for channel in placement.channels
    }
    of_treatment = ((p, t) for p, a in enumerate(catalogue.actions) for t in a.treatments)
    for number, (action, treatment) in enumerate(of_treatment):
        for placement in treatment.placements:
            found.get((treatment.channel, placement), []).append((number, action))
    limit = {placement.key: placement.limit for placement in catalogue.placements}
    return {place: _slate(limit[place[1]], pairs) for place, pairs in found.items()}


def _slate(limit: int, pairs: Sequence[tuple[int, int]]) -> Slate:
    actions = _positions(action for _, action in pairs)
    return Slate(
        limit, _positions(treatment for treatment, _ in pairs), actions, np.unique(actions)
    )


def _positions(numbers: Iterable[int]) -> Positions:
    return np.fromiter(numbers, np.intp)


def _seconds(moment: datetime | None, otherwise: float) -> float:
    return moment.timestamp() if moment else otherwise
