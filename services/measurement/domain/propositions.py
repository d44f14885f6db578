"""The outcomes of a proposition, as a set of flags that only grows.

Because flags are joined with "or", the order in which decision and outcomes arrive, and how
often, makes no difference.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntFlag
from uuid import UUID

from services.contracts.decision import DecisionRecorded, OutcomeRecorded
from services.contracts.enums import OutcomeKind
from services.measurement.domain.touchpoints import customer_of


class OutcomeFlags(IntFlag):
    """What happened to a proposition. The numbers are stored: never change them."""

    DECIDED = 1
    PRESENTED = 2
    CLICKED = 4
    ACCEPTED = 8
    REJECTED = 16
    CONVERTED = 32
    DISMISSED = 64


NO_FLAGS = OutcomeFlags(0)

FLAGS_OF_OUTCOME: dict[OutcomeKind, OutcomeFlags] = {
    kind: OutcomeFlags.PRESENTED | OutcomeFlags[kind.name] for kind in OutcomeKind
}
"""The flags of an outcome: nobody reacts to what was not shown, so each implies PRESENTED."""


@dataclass(frozen=True, slots=True)
class Proposition:
    """A ranked action, as far as known. `decided_at` is None until its decision arrives."""

    recorded_for: UUID
    """The customer its event named; a merge may have made it another's since."""
    proposition_id: UUID
    decision_id: UUID
    action: str
    treatment: str
    channel: str
    placement: str
    decided_at: datetime | None
    flags: OutcomeFlags


Key = tuple[UUID, UUID]
"""Customer id and proposition id."""


def from_decision(event: DecisionRecorded) -> list[Proposition]:
    return [
        Proposition(
            recorded_for=customer_of(event),
            proposition_id=ranked.proposition_id,
            decision_id=event.decision_id,
            action=ranked.action,
            treatment=ranked.treatment,
            channel=event.channel,
            placement=event.placement,
            decided_at=event.occurred_at,
            flags=OutcomeFlags.DECIDED,
        )
        for ranked in event.propositions
    ]


def from_outcome(event: OutcomeRecorded) -> Proposition:
    """The proposition of an outcome, as far as the outcome describes it.

    Raises ValueError for a kind of outcome this release does not know.
    """
    return Proposition(
        recorded_for=customer_of(event),
        proposition_id=event.proposition_id,
        decision_id=event.decision_id,
        action=event.action,
        treatment=event.treatment,
        channel=event.channel,
        placement=event.placement,
        decided_at=None,
        flags=FLAGS_OF_OUTCOME[OutcomeKind(event.kind)],
    )


def combine(one: Proposition, other: Proposition) -> Proposition:
    """Both as one. What the decision says of a proposition prevails over an outcome's."""
    base = other if one.decided_at is None else one
    return replace(base, flags=one.flags | other.flags)


def group_by_owner(
    propositions: Iterable[Proposition], owners: Mapping[UUID, UUID]
) -> dict[Key, Proposition]:
    """The propositions by the customers they belong to now, each once."""
    found: dict[Key, Proposition] = {}
    for proposition in propositions:
        key = (owners[proposition.recorded_for], proposition.proposition_id)
        found[key] = combine(found[key], proposition) if key in found else proposition
    return found
