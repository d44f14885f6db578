"""Touchpoints: every contact of a customer with what we said, and its outcome."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from services.contracts.base import Event, Json
from services.contracts.decision import DecisionRecorded, Money, OutcomeRecorded
from services.contracts.journey import MessageDue
from services.contracts.profile import EventRecorded
from services.measurement.domain.campaigns import campaign_of
from services.measurement.domain.conversions import Conversions
from services.measurement.domain.identities import identity_key


class TouchpointKind(StrEnum):
    """What sort of contact a touchpoint is; it says which fields are filled."""

    DECISION = "DECISION"
    """Next best actions were decided on for them."""
    OUTCOME = "OUTCOME"
    """They reacted to a proposition."""
    MESSAGE = "MESSAGE"
    """A journey had something to say to them."""
    CAMPAIGN_VISIT = "CAMPAIGN_VISIT"
    """They came by a link with UTM names or an advertiser's click id."""
    CONVERSION = "CONVERSION"
    """They did what is a conversion by the settings, such as ordering."""


@dataclass(frozen=True, slots=True)
class Touchpoint:
    """One contact. `(touched_at, touchpoint_id, kind)` is its place in the customer's history."""

    recorded_for: UUID
    """The customer its event named; a merge may have made it another's since."""
    touched_at: datetime
    touchpoint_id: UUID
    """The id of the decision, outcome, message or event."""
    kind: TouchpointKind
    channel: str | None = None
    value: Money | None = None
    identity_key: UUID | None = None
    """The identity it came by, where the event says."""
    detail: dict[str, Json] = field(default_factory=dict)
    """The fields that only this kind has."""


def customer_of(event: Event) -> UUID:
    """The customer an event is about; raises ValueError when it names none."""
    if event.customer_id is None:
        raise ValueError(f"{event.fact} {event.event_id} names no customer")
    return event.customer_id


def from_decision(event: DecisionRecorded) -> Touchpoint:
    return Touchpoint(
        recorded_for=customer_of(event),
        touched_at=event.occurred_at,
        touchpoint_id=event.decision_id,
        kind=TouchpointKind.DECISION,
        channel=event.channel,
        detail={
            "decision": str(event.decision_id),
            "placement": event.placement,
            "actions": [ranked.action for ranked in event.propositions],
            "control_group": event.control_group,
            "withheld": list(event.withheld),
            "degraded": event.degraded,
        },
    )


def from_outcome(event: OutcomeRecorded) -> Touchpoint:
    return Touchpoint(
        recorded_for=customer_of(event),
        touched_at=event.occurred_at,
        touchpoint_id=event.outcome_id,
        kind=TouchpointKind.OUTCOME,
        channel=event.channel,
        value=event.value,
        detail={
            "decision": str(event.decision_id),
            "proposition": str(event.proposition_id),
            "placement": event.placement,
            "actions": [event.action],
            "treatment": event.treatment,
            "tracking_code": event.tracking_code,
            "outcome": event.kind,
        },
    )


def from_message(event: MessageDue) -> Touchpoint:
    """A journey sent them a message. Its content stays with journey."""
    return Touchpoint(
        recorded_for=customer_of(event),
        touched_at=event.occurred_at,
        touchpoint_id=event.message_id,
        kind=TouchpointKind.MESSAGE,
        channel=event.channel,
        detail={
            "journey": event.state.journey,
            "version": event.state.version,
            "step": event.state.step,
            "template": event.template,
        },
    )


def from_event(event: EventRecorded, conversions: Conversions) -> list[Touchpoint]:
    """The touchpoints of an event: a campaign visit, a conversion, both or none."""
    found = []
    if campaign := campaign_of(event.context):
        detail = {"event": event.name, "campaign": campaign}
        found.append(_from_event(event, TouchpointKind.CAMPAIGN_VISIT, None, detail))
    if event.name in conversions.events:
        is_money = conversions.is_money(event.sender)
        value = conversions.read_value(event.properties) if is_money else None
        found.append(_from_event(event, TouchpointKind.CONVERSION, value, {"event": event.name}))
    return found


def _from_event(
    event: EventRecorded, kind: TouchpointKind, value: Money | None, detail: dict[str, Json]
) -> Touchpoint:
    return Touchpoint(
        recorded_for=customer_of(event),
        touched_at=event.occurred_at,
        touchpoint_id=event.event_id,
        kind=kind,
        value=value,
        identity_key=identity_key(event.identity.type, event.identity.value),
        detail=detail,
    )
