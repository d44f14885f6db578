"""A catalogue compiled to decide with: conditions as one rule set, policies as arrays.

Arrays of shape (n,) run along the actions of the catalogue, in its order; arrays of shape (m,) run
along their treatments, action by action.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np

from services.contracts.enums import Channel
from services.decision.domain import contact_policies
from services.decision.domain.arrays import Bools, Cents, Floats, Positions
from services.decision.domain.catalogue import (
    Action,
    ActionStatus,
    Catalogue,
    ControlGroup,
    Treatment,
)
from services.decision.domain.catalogue_validation import find_flaws, parse_catalogue_template
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

CONDITION_STAGES = (Stage.ELIGIBILITY, Stage.APPLICABILITY, Stage.SUITABILITY)
INFINITY = float("inf")


class FlawedCatalogue(ValueError):
    """A catalogue that cannot be compiled, and all that is wrong with it."""

    def __init__(self, flaws: Sequence[Flaw]) -> None:
        super().__init__(f"{len(flaws)} flaws")
        self.flaws = flaws


class StageConditions(NamedTuple):
    """The conditions of one stage: `action[i]` needs condition `condition[i]`."""

    stage: Stage
    action: Positions
    condition: Positions
    of_action: Mapping[int, Sequence[int]]
    """The conditions of each action that has any."""


class ActionWeights(NamedTuple):
    """What conditions change: `amount[i]` goes to `action[i]` where `condition[i]` holds."""

    action: Positions
    condition: Positions
    amount: Floats
    because: Sequence[str | None]


class PlacementCandidates(NamedTuple):
    """What can appear in one placement on one channel, in the order of the catalogue."""

    limit: int
    treatments: Positions
    actions: Positions
    """The action of each of these treatments."""
    unique_actions: Positions
    """These actions, each once: those a decision considers."""


class CompiledControlGroup(NamedTuple):
    """A control group, and which actions it withholds, shape (n,)."""

    definition: ControlGroup
    withheld: Bools


@dataclass(frozen=True, eq=False)
class CompiledCatalogue:
    """One version of the catalogue, compiled."""

    version: int
    catalogue: Catalogue
    rules: RuleSet
    series: SeriesSet
    declaration: Declaration
    """Since which version of the catalogue it needs each of these series."""
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
    stage_conditions: Sequence[StageConditions]
    value_cents: Cents
    values_by: ActionWeights
    context_weights: ActionWeights
    lever: Floats
    contact_limits: Sequence[contact_policies.ContactLimit]
    quiet_hours: Sequence[contact_policies.CompiledQuietHours]
    contact_window: timedelta
    """How far back contacts matter."""
    reaction_kinds: Sequence[str]
    """The outcomes that a suppression follows."""
    control_groups: Sequence[CompiledControlGroup]
    levels: Levels
    candidates: Mapping[tuple[Channel, str], PlacementCandidates]
    """By channel and placement."""
    placements: Mapping[str, frozenset[Channel]]
    """The channels of each placement."""

    @property
    def actions(self) -> Sequence[Action]:
        return self.catalogue.actions


def compile_catalogue(version: int, catalogue: Catalogue) -> CompiledCatalogue:
    """Compile a catalogue as if it were the first version; raises FlawedCatalogue."""
    conditions = _Conditions()
    stage_conditions = [
        _compile_stage(stage, catalogue.actions, conditions) for stage in CONDITION_STAGES
    ]
    values_by = _compile_values(catalogue.actions, conditions)
    context_weights = _compile_context_weights(catalogue.actions, conditions)
    if flaws := [*find_flaws(catalogue), *conditions.flaws]:
        raise FlawedCatalogue(flaws)
    rules = compile_rules(conditions.parsed)
    series = SeriesSet(rules.needs.series)
    contact_limits = contact_policies.compile_limits(catalogue)
    actions = catalogue.actions
    return CompiledCatalogue(
        version=version,
        catalogue=catalogue,
        rules=rules,
        series=series,
        declaration=Declaration().extend(version, series.series.values()),
        position_of={action.key: position for position, action in enumerate(actions)},
        treatments=[treatment for action in actions for treatment in action.treatments],
        action_of=_to_positions(p for p, action in enumerate(actions) for _ in action.treatments),
        contents=[
            parse_catalogue_template(t.content).fill
            for action in actions
            for t in action.treatments
        ],
        reasons=[parse_catalogue_template(a.reason).fill if a.reason else None for a in actions],
        paused=np.array([action.status is ActionStatus.PAUSED for action in actions], bool),
        valid_from_s=np.array([_to_seconds(action.valid_from, -INFINITY) for action in actions]),
        valid_until_s=np.array([_to_seconds(action.valid_until, INFINITY) for action in actions]),
        purposes=_find_purposes(actions),
        stage_conditions=stage_conditions,
        value_cents=np.array([action.value_cents for action in actions], np.int64),
        values_by=values_by,
        context_weights=context_weights,
        lever=np.array([action.lever for action in actions], np.float64),
        contact_limits=contact_limits,
        quiet_hours=contact_policies.compile_quiet_hours(catalogue),
        contact_window=contact_policies.find_longest_window(contact_limits),
        reaction_kinds=contact_policies.find_reaction_kinds(contact_limits),
        control_groups=_compile_control_groups(catalogue),
        levels=_build_levels(catalogue),
        candidates=_find_candidates(catalogue),
        placements={p.key: frozenset(p.channels) for p in catalogue.placements},
    )


class _Conditions:
    """Numbers the conditions of a catalogue, and collects what is wrong with them."""

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


def _compile_stage(
    stage: Stage, actions: Sequence[Action], conditions: _Conditions
) -> StageConditions:
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
    return StageConditions(
        stage, _to_positions(a for a, _ in pairs), _to_positions(c for _, c in pairs), of_action
    )


def _compile_values(actions: Sequence[Action], conditions: _Conditions) -> ActionWeights:
    """Last ones first, so that of those that hold the first one is applied last, and counts."""
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
    return _to_action_weights(rows)


def _compile_context_weights(actions: Sequence[Action], conditions: _Conditions) -> ActionWeights:
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
    return _to_action_weights(rows)


def _to_action_weights(rows: Sequence[tuple[int, int, float, str | None]]) -> ActionWeights:
    return ActionWeights(
        _to_positions(action for action, _, _, _ in rows),
        _to_positions(condition for _, condition, _, _ in rows),
        np.array([amount for _, _, amount, _ in rows], np.float64),
        [because for _, _, _, because in rows],
    )


def _find_purposes(actions: Sequence[Action]) -> dict[str, Bools]:
    names = dict.fromkeys(purpose for action in actions for purpose in action.consent)
    return {name: np.array([name in a.consent for a in actions], bool) for name in names}


def _compile_control_groups(catalogue: Catalogue) -> list[CompiledControlGroup]:
    return [
        CompiledControlGroup(
            group, np.array([group.withholds.has_action(a) for a in catalogue.actions], bool)
        )
        for group in catalogue.control_groups
    ]


def _build_levels(catalogue: Catalogue) -> Levels:
    return Levels(
        (Arm(a.key, t.channel, t.key) for a in catalogue.actions for t in a.treatments),
        {a.key: a.propensity for a in catalogue.actions if a.propensity is not None},
        strength=catalogue.learning.strength,
        default=catalogue.learning.default_propensity,
    )


def _find_candidates(catalogue: Catalogue) -> dict[tuple[Channel, str], PlacementCandidates]:
    pairs_of: dict[tuple[Channel, str], list[tuple[int, int]]] = {
        (channel, placement.key): []
        for placement in catalogue.placements
        for channel in placement.channels
    }
    of_treatment = ((p, t) for p, a in enumerate(catalogue.actions) for t in a.treatments)
    for number, (action, treatment) in enumerate(of_treatment):
        for placement in treatment.placements:
            pairs_of.get((treatment.channel, placement), []).append((number, action))
    limit = {placement.key: placement.limit for placement in catalogue.placements}
    return {place: _to_candidates(limit[place[1]], pairs) for place, pairs in pairs_of.items()}


def _to_candidates(limit: int, pairs: Sequence[tuple[int, int]]) -> PlacementCandidates:
    actions = _to_positions(action for _, action in pairs)
    return PlacementCandidates(
        limit, _to_positions(treatment for treatment, _ in pairs), actions, np.unique(actions)
    )


def _to_positions(numbers: Iterable[int]) -> Positions:
    return np.fromiter(numbers, np.intp)


def _to_seconds(moment: datetime | None, otherwise: float) -> float:
    return moment.timestamp() if moment else otherwise
