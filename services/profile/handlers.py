"""What profile listens to: outcomes are events of a customer too, others need series kept, and
what it could not record itself comes back.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from services.chassis.clock import Clock
from services.chassis.database import Connection
from services.chassis.handling import Subscriptions
from services.chassis.ids import new_id
from services.contracts.decision import DecisionSeriesNeeded, OutcomeRecorded
from services.contracts.enums import SenderClass
from services.contracts.journey import JourneySeriesNeeded
from services.contracts.profile import EventSetAside
from services.contracts.series import SeriesNeeded
from services.profile.domain.calls import Call
from services.profile.domain.customer import DEFAULT_ROOM, Room
from services.profile.service.publishing import declare_series
from services.profile.service.recording import record, record_again
from services.profile.service.segment_cache import Rulebooks


async def take_outcomes(
    rulebooks: Rulebooks, clock: Clock, connection: Connection, outcomes: Sequence[OutcomeRecorded]
) -> None:
    """Record outcomes as events `outcome_presented` and so on; an outcome counts once."""
    await record(connection, rulebooks, [_call(o) for o in outcomes if o.customer_id], clock())


async def take_set_aside(
    rulebooks: Rulebooks,
    clock: Clock,
    room: Room,
    connection: Connection,
    events: Sequence[EventSetAside],
) -> None:
    """Record events that could not be recorded when they came."""
    await record_again(connection, rulebooks, events, clock(), room)


async def keep_series(clock: Clock, connection: Connection, wishes: Sequence[SeriesNeeded]) -> None:
    """Keep what a service's conditions ask of history; an older wish changes nothing."""
    for needed in wishes:
        await declare_series(connection, needed, clock())


def subscriptions(rulebooks: Rulebooks, clock: Clock, room: Room = DEFAULT_ROOM) -> Subscriptions:
    """The handlers, given what they need."""
    needs = {
        take_outcomes: (rulebooks, clock),
        take_set_aside: (rulebooks, clock, room),
        keep_series: (clock,),
    }
    return {event: partial(handler, *needs[handler]) for event, handler in SUBSCRIPTIONS.items()}


SUBSCRIPTIONS: dict[type[Any], Any] = {
    OutcomeRecorded: take_outcomes,
    EventSetAside: take_set_aside,
    DecisionSeriesNeeded: keep_series,
    JourneySeriesNeeded: keep_series,
}


def _call(outcome: OutcomeRecorded) -> Call:
    return Call(
        kind="outcome",
        name=outcome.event_name,
        sender=SenderClass.SERVER,
        event_id=new_id(),
        message_id=str(outcome.outcome_id),
        occurred_at=outcome.occurred_at,
        received_at=outcome.recorded_at,
        properties=outcome.event_properties,
        context={
            "decision": str(outcome.decision_id),
            "proposition": str(outcome.proposition_id),
            "sender": outcome.sender,
        },
        identities=(),
        customer=outcome.customer_id,
    )
