"""A catalogue compiled to decide with: conditions as one rule set, policies as arrays.

Arrays of shape (n,) run along the actions of the catalogue, in its order; arrays of shape (m,) run
along their treatments, action by action.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from services.contracts.enums import Channel
from services.decision.domain import contact_policies
from services.decision.domain.arrays import Bools, Cents, Floats, Positions
from services.decision.domain.catalogue import (
    Action,
    ActionStatus,
    Catalogue,
    ConditionalValue,
    ContextWeight,
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


class ActionConditions(NamedTuple):
    """The conditions of one stage: `action[i]` needs condition `condition[i]`."""

    action: Positions
    condition: Positions


class ActionWeights(NamedTuple):
    """What conditions change: `amount[i]` goes to `action[i]` where `condition[i]` holds."""

    action: Positions
    condition: Positions
    amount: Floats
    because: Sequence[str | None] = ()


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
    version: int
    catalogue: Catalogue
    rules: RuleSet
    series: SeriesSet
    declaration: Declaration
    """Since which version of the catalogue it needs each of these series."""
    position_of: Mapping[str, int]
    treatments: Sequence[Treatment]
    contents: Sequence[Fill]
    reasons: Sequence[Fill | None]
    paused: Bools
    valid_from_s: Floats
    valid_until_s: Floats
    purposes: Mapping[str, Bools]
    """Every purpose, with the actions that need consent to it."""
    stage_conditions: Mapping[Stage, ActionConditions]
    value_cents: Cents
    values_by: ActionWeights
    context_weights: ActionWeights
    lever: Floats
    contact_limits: Sequence[contact_policies.ContactLimit]
    quiet_hours: Sequence[contact_policies.CompiledQuietHours]
    contact_window: timedelta
    reaction_kinds: Sequence[str]
    """The outcomes that a suppression follows."""
    control_groups: Sequence[CompiledControlGroup]
    levels: Levels
    candidates: Mapping[tuple[Channel, str], PlacementCandidates]

    @property
    def actions(self) -> Sequence[Action]:
        return self.catalogue.actions


def compile_catalogue(version: int, catalogue: Catalogue) -> CompiledCatalogue:
    """Compile a catalogue as if it were the first version; raises FlawedCatalogue."""
    conditions = _Conditions()
    stage_conditions = {
        stage: ActionConditions(*_split(conditions.parse_field(catalogue.actions, stage.lower())))
        for stage in CONDITION_STAGES
    }
    # reversed: of the values whose condition holds, the first one is applied last, and counts
    values = conditions.parse_field(catalogue.actions, "value_by")[::-1]
    weights = conditions.parse_field(catalogue.actions, "context_weights")
    if flaws := [*find_flaws(catalogue), *conditions.flaws]:
        raise FlawedCatalogue(flaws)
    rules = RuleSet(conditions.parsed)
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
        values_by=ActionWeights(*_split(values), np.array([v.cents for *_, v in values], float)),
        context_weights=ActionWeights(
            *_split(weights),
            np.array([1 + w.weight / 100 for *_, w in weights], float),
            [w.because for *_, w in weights],
        ),
        lever=np.array([action.lever for action in actions], np.float64),
        contact_limits=contact_limits,
        quiet_hours=contact_policies.compile_quiet_hours(catalogue),
        contact_window=contact_policies.find_longest_window(contact_limits),
        reaction_kinds=contact_policies.find_reaction_kinds(contact_limits),
        control_groups=_compile_control_groups(catalogue),
        levels=_build_levels(catalogue),
        candidates=_find_candidates(catalogue),
    )


class _Conditions:
    """Numbers the conditions of a catalogue, and collects what is wrong with them."""

    def __init__(self) -> None:
        self.parsed: list[Condition] = []
        self.flaws: list[Flaw] = []

    def parse_field(self, actions: Sequence[Action], field: str) -> list[tuple[int, int, Any]]:
        """The conditions in a field of the actions: each with the position of its action, its
        number in the rules, and what the field has there.
        """
        return [
            (action_position, self._add(item, ("actions", action_position, field, position)), item)
            for action_position, action in enumerate(actions)
            for position, item in enumerate(getattr(action, field))
        ]

    def _add(self, item: str | ConditionalValue | ContextWeight, path: DocumentPath) -> int:
        text, path = (item, path) if isinstance(item, str) else (item.when, (*path, "when"))
        try:
            self.parsed.append(parse(text))
        except ConditionError as error:
            self.flaws.append(Flaw.from_error(error, path))
        return len(self.parsed) - 1


def _split(rows: Sequence[tuple[int, int, Any]]) -> tuple[Positions, Positions]:
    """The positions of the actions, and the numbers of the conditions."""
    return _to_positions(row[0] for row in rows), _to_positions(row[1] for row in rows)


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
