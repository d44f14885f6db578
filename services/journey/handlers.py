"""From events to journeys. Every handler may be given any event again."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from services.chassis.database import Connection
from services.chassis.handling import Subscriptions
from services.contracts.base import Event
from services.contracts.decision import OutcomeRecorded
from services.contracts.profile import CustomerChanged, CustomersMerged, EventRecorded
from services.journey.domain.instance import Happened
from services.journey.service import event_handling
from services.journey.service.engine import Engine
from services.journey.service.event_handling import Heard

Handle = Callable[[Engine, Connection, Sequence[Any]], Awaitable[None]]


async def hear_events(
    engine: Engine, connection: Connection, events: Sequence[EventRecorded]
) -> None:
    """Let what customers did move their journeys."""
    await event_handling.hear(
        engine, connection, [_of_event(event) for event in events if event.customer_id]
    )


async def hear_outcomes(
    engine: Engine, connection: Connection, events: Sequence[OutcomeRecorded]
) -> None:
    """Let how customers reacted to offers move their journeys."""
    heard = [_of_outcome(event) for event in events if event.customer_id]
    await event_handling.hear(engine, connection, heard)


def _of_event(event: EventRecorded) -> Heard:
    assert event.customer_id is not None
    happened = Happened(
        event.event_id, event.name, event.occurred_at, event.properties, event.context
    )
    return Heard(event.customer_id, happened, event.customer_version)


def _of_outcome(outcome: OutcomeRecorded) -> Heard:
    """An outcome as the event `outcome_accepted` and its like: named as in everyone's history."""
    assert outcome.customer_id is not None
    happened = Happened(
        outcome.event_id, outcome.event_name, outcome.occurred_at, outcome.event_properties
    )
    return Heard(outcome.customer_id, happened)


SUBSCRIPTIONS: dict[type[Event], Handle] = {
    EventRecorded: hear_events,
    OutcomeRecorded: hear_outcomes,
    CustomerChanged: event_handling.take_in,
    CustomersMerged: event_handling.merge,
}


def subscriptions(engine: Engine) -> Subscriptions:
    """What journey listens to, each handler bound to the engine."""
    return {event: partial(handle, engine) for event, handle in SUBSCRIPTIONS.items()}
