"""The filters an action must pass before it is weighed, each over all actions at once.

A filter gives an array of shape (n,), True where it refuses the action; the words for one refused
action are found afterwards, by `failed`.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.decision.domain.catalogue import Action, ActionStatus
from services.decision.domain.compiled_catalogue import GATES, Compiled, Group
from services.decision.domain.contact_policies import Closed, closed
from services.decision.domain.control_groups import belongs
from services.decision.domain.decision_input import Situation
from services.decision.domain.trace import Failed, Stage
from services.rules import PASSED, FailedPart

Bools = NDArray[np.bool_]


class View(NamedTuple):
    """What the filters of one decision look at."""

    catalogue: Compiled
    situation: Situation
    holds: Bools
    """Which of the catalogue's conditions are true."""
    closed: Closed
    groups: Sequence[Group]
    """The control groups the customer is in."""


def view(catalogue: Compiled, situation: Situation) -> View:
    """Evaluate all conditions, contact policies and control groups, each once."""
    outcomes = np.array(catalogue.rules(situation.facts), np.intp)
    return View(
        catalogue,
        situation,
        outcomes == PASSED,
        closed(
            situation.contacts,
            catalogue.limits,
            catalogue.silences,
            catalogue.position_of,
            situation.channel,
            situation.now,
        ),
        [
            group
            for group in catalogue.control_groups
            if belongs(
                situation.customer_id,
                group.group.salt or group.group.key,
                group.group.share_percent,
            )
        ],
    )


def without_consent(view: View) -> Bools:
    """Actions that need consent to a purpose for which there is none."""
    refused = np.zeros(len(view.catalogue.actions), bool)
    given = view.situation.facts.consent
    for purpose, needed_by in view.catalogue.purposes.items():
        if given.get(purpose) is not True:
            refused |= needed_by
    return refused


def not_valid(view: View) -> Bools:
    """Actions that are paused, not begun or over."""
    now_s = view.situation.now.timestamp()
    early_or_late = (now_s < view.catalogue.valid_from_s) | (now_s >= view.catalogue.valid_until_s)
    return view.catalogue.paused | early_or_late


def not_admitted(gate: int, view: View) -> Bools:
    """Actions of which a condition of this stage is not true."""
    _, action, condition, _ = view.catalogue.gates[gate]
    refused = np.zeros(len(view.catalogue.actions), bool)
    refused[action[~view.holds[condition]]] = True
    return refused


def out_of_contact(view: View) -> Bools:
    """Actions a contact policy closes now."""
    return view.closed.actions


def withheld(view: View) -> Bools:
    """Actions kept back from the control groups this customer is in."""
    refused = np.zeros(len(view.catalogue.actions), bool)
    for group in view.groups:
        refused |= group.withheld
    return refused


FILTERS: Sequence[tuple[Stage, Callable[[View], Bools]]] = (
    (Stage.CONSENT, without_consent),
    (Stage.VALIDITY, not_valid),
    *((stage, partial(not_admitted, number)) for number, stage in enumerate(GATES)),
    (Stage.CONTACT_POLICY, out_of_contact),
    (Stage.CONTROL_GROUP, withheld),
)
"""Every filter, in the order in which actions meet them."""


def failed(stage: Stage, view: View, position: int) -> Sequence[Failed]:
    """What the action at a position did not meet at the stage that refused it."""
    match stage:
        case Stage.CONSENT:
            return _missing_consent(view, position)
        case Stage.VALIDITY:
            return _invalidity(view.catalogue.actions[position], view.situation.now)
        case Stage.CONTACT_POLICY:
            return view.closed.failed[position]
        case Stage.CONTROL_GROUP:
            return [
                Failed(f"not in control group {group.group.key}", "in it")
                for group in view.groups
                if group.withheld[position]
            ]
        case _:
            return _false_parts(view, GATES.index(stage), position)


def _missing_consent(view: View, position: int) -> list[Failed]:
    given = view.situation.facts.consent
    return [
        Failed(f"consent.{purpose}", given.get(purpose, "missing"))
        for purpose in view.catalogue.actions[position].consent
        if given.get(purpose) is not True
    ]


def _invalidity(action: Action, now: datetime) -> list[Failed]:
    found = []
    at = _iso(now)
    if action.status is ActionStatus.PAUSED:
        found.append(Failed("status is ACTIVE", action.status.value))
    if action.valid_from and now < action.valid_from:
        found.append(Failed(f"valid from {_iso(action.valid_from)}", at))
    if action.valid_until and now >= action.valid_until:
        found.append(Failed(f"valid until {_iso(action.valid_until)}", at))
    return found


def _false_parts(view: View, gate: int, position: int) -> list[Failed]:
    return [
        told
        for condition in view.catalogue.gates[gate].of_action[position]
        if not view.holds[condition]
        for part in view.catalogue.rules.explain(condition, view.situation.facts)
        for told in _told(part)
    ]


def _told(part: FailedPart) -> list[Failed]:
    """A failed part; of an `or`, with what each of its alternatives saw."""
    if not part.within:
        return [Failed(part.text, part.actual)]
    return [Failed(part.text, {inner.text: inner.actual for inner in _leaves(part)})]


def _leaves(part: FailedPart) -> list[FailedPart]:
    if not part.within:
        return [part]
    return [leaf for inner in part.within for leaf in _leaves(inner)]


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
