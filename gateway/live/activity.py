"""What a subscription is sent of one event of the bus. Pure: no NATS, no graph."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Self
from uuid import UUID

import orjson
import strawberry

from services.contracts.base import Event
from services.contracts.decision import DecisionRecorded, OutcomeRecorded
from services.contracts.journey import InstanceEnded, MessageDue, StepEntered
from services.contracts.profile import CustomerChanged, CustomersMerged, EventRecorded


@strawberry.enum
class ActivityKind(Enum):
    """What happened with a customer, or with the feed that reports it."""

    WATCHING = "WATCHING"
    """From here on everything is reported. What is read of the customer now misses nothing."""
    EVENT = "EVENT"
    """They did something: `event`."""
    PROFILE_CHANGED = "PROFILE_CHANGED"
    """Something about them is different: `changes`."""
    MERGED = "MERGED"
    """Two customers became one: `merge`. Subscriptions to either go on with the one that remains.
    """
    DECISION = "DECISION"
    """Offers were decided on for them: `decision`."""
    OUTCOME = "OUTCOME"
    """They reacted to an offer: `outcome`, of `decision`."""
    JOURNEY_STEP = "JOURNEY_STEP"
    """They came to a step of a journey: `journey`."""
    JOURNEY_ENDED = "JOURNEY_ENDED"
    """A journey came to its end: `journey`."""
    MESSAGE = "MESSAGE"
    """A journey has something to say to them: `message`, of `journey`."""
    INTERRUPTED = "INTERRUPTED"
    """Nothing can be reported for now. It goes on by itself, with a GAP."""
    GAP = "GAP"
    """Something may have happened that was not reported: read the customer again."""


ACTIVITY_KINDS: Mapping[type[Event], ActivityKind] = {
    EventRecorded: ActivityKind.EVENT,
    CustomerChanged: ActivityKind.PROFILE_CHANGED,
    CustomersMerged: ActivityKind.MERGED,
    DecisionRecorded: ActivityKind.DECISION,
    OutcomeRecorded: ActivityKind.OUTCOME,
    StepEntered: ActivityKind.JOURNEY_STEP,
    InstanceEnded: ActivityKind.JOURNEY_ENDED,
    MessageDue: ActivityKind.MESSAGE,
}
"""The events that are reported; others of the bus are for services."""

EVENTS_BY_TYPE: Mapping[str, type[Event]] = {event.type(): event for event in ACTIVITY_KINDS}


@dataclass(frozen=True, slots=True)
class CustomerDiff:
    """What became different about a customer, by name; the values are profile's to give."""

    traits: tuple[str, ...] = ()
    consents: tuple[str, ...] = ()
    segments_entered: tuple[str, ...] = ()
    segments_left: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()
    """The types of identities that came or went."""

    def __bool__(self) -> bool:
        return any(
            (self.traits, self.consents, self.segments_entered, self.segments_left, self.identities)
        )


@dataclass(frozen=True, slots=True)
class Activity:
    """One thing that happened, for the subscriptions to a customer."""

    id: UUID
    at: datetime
    kind: ActivityKind
    customer_id: UUID
    content: Event | CustomerDiff | None = None
    """None for WATCHING, INTERRUPTED and GAP."""


@dataclass(frozen=True, slots=True)
class CustomerDigests:
    """What is remembered of a customer to find changes by: digests, no values."""

    version: int = 0
    traits: Mapping[str, int] = field(default_factory=dict)
    consents: Mapping[str, int] = field(default_factory=dict)
    segments: frozenset[str] = frozenset()
    identities: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def from_event(cls, event: CustomerChanged) -> Self:
        """The digests of a snapshot; they are comparable within this process only."""
        return cls(
            event.version,
            _digests(event.traits),
            _digests(event.consents),
            frozenset(event.segments),
            frozenset((identity.type, hash(identity.value)) for identity in event.identities),
        )

    def compare(self, later: Self) -> CustomerDiff:
        """What differs in a later snapshot."""
        identities = self.identities ^ later.identities
        return CustomerDiff(
            _changed_names(self.traits, later.traits),
            _changed_names(self.consents, later.consents),
            tuple(sorted(later.segments - self.segments)),
            tuple(sorted(self.segments - later.segments)),
            tuple(sorted({type_ for type_, _ in identities})),
        )


def _digests(values: Mapping[str, Any]) -> dict[str, int]:
    return {name: hash(orjson.dumps(value)) for name, value in values.items()}


def _changed_names(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[str, ...]:
    names = before.keys() | after.keys()
    return tuple(sorted(name for name in names if before.get(name) != after.get(name)))


def read_event(subject: str, document: bytes) -> Event | None:
    """The event of a message on the bus; None if it is of a type that is not reported.

    Raises ValueError when it is no event, or is not about the customer its subject names.
    """
    type_, _, customer = subject.rpartition(".")
    event_type = EVENTS_BY_TYPE.get(type_)
    if event_type is None:
        return None
    try:
        event = event_type.from_cloudevent(document)
    except (KeyError, TypeError):
        raise ValueError("It is not a CloudEvent of ours.") from None
    if str(event.customer_id) != customer:
        raise ValueError(f"A {event_type.fact} is about another customer than its subject says.")
    return event
