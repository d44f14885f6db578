"""From events to facts. Every handler may be given any event again, and in any order."""

from collections.abc import Sequence
from functools import partial

from services.chassis.database import Connection
from services.chassis.handling import Subscriptions
from services.contracts.decision import DecisionMade, OutcomeRecorded
from services.contracts.journey import MessageDue
from services.contracts.profile import CustomerChanged, CustomersMerged, EventRecorded
from services.measurement import service
from services.measurement.domain import propositions, touchpoints
from services.measurement.domain.conversions import Conversions


async def record_decisions(connection: Connection, events: Sequence[DecisionMade]) -> None:
    """Keep what was decided."""
    decided = [one for event in events for one in propositions.of_decision(event)]
    await service.record(connection, [touchpoints.of_decision(e) for e in events], decided)


async def record_outcomes(
    conversions: Conversions, connection: Connection, events: Sequence[OutcomeRecorded]
) -> None:
    """Keep what became of it; what a browser says it was worth is no money."""
    events = [
        event if conversions.is_money(event.sender) else event.model_copy(update={"value": None})
        for event in events
    ]
    told = [propositions.of_outcome(event) for event in events]
    await service.record(connection, [touchpoints.of_outcome(e) for e in events], told, events)


async def record_messages(connection: Connection, events: Sequence[MessageDue]) -> None:
    """Keep what journeys said."""
    await service.record(connection, [touchpoints.of_message(event) for event in events])


class RecordEvents:
    """Keeps campaign visits and conversions, and lets all other events pass."""

    def __init__(self, conversions: Conversions) -> None:
        self._conversions = conversions

    async def __call__(self, connection: Connection, events: Sequence[EventRecorded]) -> None:
        """Keep what matters of these events."""
        found = [one for e in events for one in touchpoints.of_event(e, self._conversions)]
        if found:
            await service.record(connection, found)


def subscriptions(conversions: Conversions) -> Subscriptions:
    """What measurement listens to."""
    return {
        DecisionMade: record_decisions,
        OutcomeRecorded: partial(record_outcomes, conversions),
        MessageDue: record_messages,
        EventRecorded: RecordEvents(conversions),
        CustomersMerged: service.merge,
        CustomerChanged: service.see_identities,
    }
