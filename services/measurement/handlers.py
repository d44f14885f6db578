"""From events to records. Every handler may get any event again, and in any order."""

from collections.abc import Sequence
from functools import partial

from services.chassis.consumer import Subscriptions
from services.chassis.database import Connection
from services.contracts.decision import DecisionRecorded, OutcomeRecorded
from services.contracts.journey import MessageDue
from services.contracts.profile import CustomerChanged, CustomersMerged, EventRecorded
from services.measurement import service
from services.measurement.domain import propositions, touchpoints
from services.measurement.domain.conversions import Conversions


async def record_decisions(connection: Connection, events: Sequence[DecisionRecorded]) -> None:
    ranked = [one for event in events for one in propositions.from_decision(event)]
    await service.record(connection, [touchpoints.from_decision(e) for e in events], ranked)


async def record_outcomes(
    conversions: Conversions, connection: Connection, events: Sequence[OutcomeRecorded]
) -> None:
    """Record outcomes; an amount that an untrusted sender states is not counted as money."""
    events = [
        event if conversions.is_money(event.sender) else event.model_copy(update={"value": None})
        for event in events
    ]
    reacted = [propositions.from_outcome(event) for event in events]
    await service.record(connection, [touchpoints.from_outcome(e) for e in events], reacted, events)


async def record_messages(connection: Connection, events: Sequence[MessageDue]) -> None:
    await service.record(connection, [touchpoints.from_message(event) for event in events])


async def record_events(
    conversions: Conversions, connection: Connection, events: Sequence[EventRecorded]
) -> None:
    """Record campaign visits and conversions; all other events pass."""
    found = [one for event in events for one in touchpoints.from_event(event, conversions)]
    if found:
        await service.record(connection, found)


def subscriptions(conversions: Conversions) -> Subscriptions:
    return {
        DecisionRecorded: record_decisions,
        OutcomeRecorded: partial(record_outcomes, conversions),
        MessageDue: record_messages,
        EventRecorded: partial(record_events, conversions),
        CustomersMerged: service.merge,
        CustomerChanged: service.record_identities,
    }
