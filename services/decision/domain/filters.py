"""The filters an action must pass before it is scored, each over all actions at once.

A filter returns an array of shape (n,), True where it refuses the action; why one action was
refused is found afterwards, by `explain_refusal`.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import numpy as np

from services.decision.domain.arrays import Bools
from services.decision.domain.catalogue import Action, ActionStatus
from services.decision.domain.compiled_catalogue import (
    CONDITION_STAGES,
    CompiledCatalogue,
    CompiledControlGroup,
)
from services.decision.domain.contact_policies import ContactRefusals, apply_contact_policies
from services.decision.domain.control_groups import is_in_control_group
from services.decision.domain.decision_input import DecisionInput
from services.decision.domain.trace import FailedCondition, Stage
from services.rules import FailedPart


class FilterInput(NamedTuple):
    catalogue: CompiledCatalogue
    decision_input: DecisionInput
    holds: Bools
    """Which of the catalogue's conditions are true."""
    refusals: ContactRefusals
    control_groups: Sequence[CompiledControlGroup]


def build_filter_input(catalogue: CompiledCatalogue, decision_input: DecisionInput) -> FilterInput:
    """Evaluate all conditions, contact policies and control groups, each once."""
    return FilterInput(
        catalogue,
        decision_input,
        np.array(catalogue.rules(decision_input.facts), bool),
        apply_contact_policies(
            decision_input.contacts,
            catalogue.contact_limits,
            catalogue.quiet_hours,
            catalogue.position_of,
            decision_input.channel,
            decision_input.now,
        ),
        [
            group
            for group in catalogue.control_groups
            if is_in_control_group(
                decision_input.customer_id,
                group.definition.salt or group.definition.key,
                group.definition.share_percent,
            )
        ],
    )


def refuse_without_consent(filter_input: FilterInput) -> Bools:
    refused = np.zeros(len(filter_input.catalogue.actions), bool)
    consent = filter_input.decision_input.facts.consent
    for purpose, needed_by in filter_input.catalogue.purposes.items():
        if consent.get(purpose) is not True:
            refused |= needed_by
    return refused


def refuse_invalid(filter_input: FilterInput) -> Bools:
    now_s = filter_input.decision_input.now.timestamp()
    catalogue = filter_input.catalogue
    return catalogue.paused | (now_s < catalogue.valid_from_s) | (now_s >= catalogue.valid_until_s)


def refuse_by_conditions(stage: Stage, filter_input: FilterInput) -> Bools:
    action, condition = filter_input.catalogue.stage_conditions[stage]
    refused = np.zeros(len(filter_input.catalogue.actions), bool)
    refused[action[~filter_input.holds[condition]]] = True
    return refused


def refuse_by_contact_policies(filter_input: FilterInput) -> Bools:
    return filter_input.refusals.actions


def refuse_by_control_groups(filter_input: FilterInput) -> Bools:
    refused = np.zeros(len(filter_input.catalogue.actions), bool)
    for group in filter_input.control_groups:
        refused |= group.withheld
    return refused


FILTERS: Sequence[tuple[Stage, Callable[[FilterInput], Bools]]] = (
    (Stage.CONSENT, refuse_without_consent),
    (Stage.VALIDITY, refuse_invalid),
    *((stage, partial(refuse_by_conditions, stage)) for stage in CONDITION_STAGES),
    (Stage.CONTACT_POLICY, refuse_by_contact_policies),
    (Stage.CONTROL_GROUP, refuse_by_control_groups),
)


def explain_refusal(
    stage: Stage, filter_input: FilterInput, position: int
) -> Sequence[FailedCondition]:
    """The conditions that failed for the action at a position, at the stage that refused it."""
    match stage:
        case Stage.CONSENT:
            return _find_missing_consents(filter_input, position)
        case Stage.VALIDITY:
            return _find_invalidity(
                filter_input.catalogue.actions[position], filter_input.decision_input.now
            )
        case Stage.CONTACT_POLICY:
            return filter_input.refusals.failed[position]
        case Stage.CONTROL_GROUP:
            return [
                FailedCondition(f"not in control group {group.definition.key}", "in it")
                for group in filter_input.control_groups
                if group.withheld[position]
            ]
        case _:
            return _find_false_parts(filter_input, stage, position)


def _find_missing_consents(filter_input: FilterInput, position: int) -> list[FailedCondition]:
    consent = filter_input.decision_input.facts.consent
    return [
        FailedCondition(f"consent.{purpose}", consent.get(purpose, "missing"))
        for purpose in filter_input.catalogue.actions[position].consent
        if consent.get(purpose) is not True
    ]


def _find_invalidity(action: Action, now: datetime) -> list[FailedCondition]:
    failed = []
    at = _format(now)
    if action.status is ActionStatus.PAUSED:
        failed.append(FailedCondition("status is ACTIVE", action.status.value))
    if action.valid_from and now < action.valid_from:
        failed.append(FailedCondition(f"valid from {_format(action.valid_from)}", at))
    if action.valid_until and now >= action.valid_until:
        failed.append(FailedCondition(f"valid until {_format(action.valid_until)}", at))
    return failed


def _find_false_parts(
    filter_input: FilterInput, stage: Stage, position: int
) -> list[FailedCondition]:
    catalogue, facts = filter_input.catalogue, filter_input.decision_input.facts
    action, condition = catalogue.stage_conditions[stage]
    return [
        _to_failed_condition(part)
        for number in condition[action == position].tolist()
        for part in catalogue.rules.explain(number, facts)
    ]


def _to_failed_condition(part: FailedPart) -> FailedCondition:
    """A failed part; of an `or`, with the actual value of each of its alternatives."""
    if not part.within:
        return FailedCondition(part.text, part.actual)
    return FailedCondition(part.text, {inner.text: inner.actual for inner in _list_leaves(part)})


def _list_leaves(part: FailedPart) -> list[FailedPart]:
    if not part.within:
        return [part]
    return [leaf for inner in part.within for leaf in _list_leaves(inner)]


def _format(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
