"""From events to journeys. Every handler may get any event again."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from services.chassis.consumer import Subscriptions
from services.chassis.database import Connection
from services.contracts.base import Event
from services.contracts.decision import OutcomeRecorded
from services.contracts.profile import CustomerChanged, CustomersMerged, EventRecorded
from services.journey.domain.instance import EventStimulus
from services.journey.service import event_handling
from services.journey.service.engine import Engine
from services.journey.service.event_handling import IncomingEvent

Handle = Callable[[Engine, Connection, Sequence[Any]], Awaitable[None]]


async def handle_recorded_events(
    engine: Engine, connection: Connection, events: Sequence[EventRecorded]
) -> None:
    incoming = [_from_event(event) for event in events if event.customer_id]
    await event_handling.handle_events(engine, connection, incoming)


async def handle_outcomes(
    engine: Engine, connection: Connection, events: Sequence[OutcomeRecorded]
) -> None:
    incoming = [_from_outcome(event) for event in events if event.customer_id]
    await event_handling.handle_events(engine, connection, incoming)


def _from_event(event: EventRecorded) -> IncomingEvent:
    assert event.customer_id is not None
    stimulus = EventStimulus(
        event.event_id, event.name, event.occurred_at, event.properties, event.context
    )
    return IncomingEvent(event.customer_id, stimulus, event.customer_version)


def _from_outcome(outcome: OutcomeRecorded) -> IncomingEvent:
    """An outcome as the event `outcome_accepted` and its like: named as in a customer's history."""
    assert outcome.customer_id is not None
    stimulus = EventStimulus(
        outcome.event_id, outcome.event_name, outcome.occurred_at, outcome.event_properties
    )
    return IncomingEvent(outcome.customer_id, stimulus)


SUBSCRIPTIONS: dict[type[Event], Handle] = {
    EventRecorded: handle_recorded_events,
    OutcomeRecorded: handle_outcomes,
    CustomerChanged: event_handling.handle_snapshots,
    CustomersMerged: event_handling.handle_merges,
}


def subscriptions(engine: Engine) -> Subscriptions:
    return {event: partial(handle, engine) for event, handle in SUBSCRIPTIONS.items()}
