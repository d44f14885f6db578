"""The events profile subscribes to: outcomes, which are events of a customer too; the series other
services need; and events it could not record before.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from services.chassis.clock import Clock
from services.chassis.consumer import Subscriptions
from services.chassis.database import Connection
from services.chassis.ids import new_id
from services.contracts.decision import DecisionSeriesNeeded, OutcomeRecorded
from services.contracts.enums import SenderClass
from services.contracts.journey import JourneySeriesNeeded
from services.contracts.profile import EventSetAside
from services.contracts.series import SeriesNeeded
from services.profile.domain.calls import Call
from services.profile.domain.customer import DEFAULT_LIMITS, CustomerLimits
from services.profile.service.publishing import declare_series
from services.profile.service.recording import record, record_again
from services.profile.service.segment_cache import SegmentCache


async def record_outcomes(
    cache: SegmentCache, clock: Clock, connection: Connection, outcomes: Sequence[OutcomeRecorded]
) -> None:
    """Record outcomes as events `outcome_presented` and so on; an outcome counts once."""
    await record(connection, cache, [_to_call(o) for o in outcomes if o.customer_id], clock())


async def record_set_aside(
    cache: SegmentCache,
    clock: Clock,
    limits: CustomerLimits,
    connection: Connection,
    events: Sequence[EventSetAside],
) -> None:
    await record_again(connection, cache, events, clock(), limits)


async def declare_all_series(
    clock: Clock, connection: Connection, declarations: Sequence[SeriesNeeded]
) -> None:
    """Compute the series that services need; an older declaration changes nothing."""
    for needed in declarations:
        await declare_series(connection, needed, clock())


def subscriptions(
    cache: SegmentCache, clock: Clock, limits: CustomerLimits = DEFAULT_LIMITS
) -> Subscriptions:
    """The handlers with their dependencies bound."""
    dependencies = {
        record_outcomes: (cache, clock),
        record_set_aside: (cache, clock, limits),
        declare_all_series: (clock,),
    }
    return {
        event: partial(handler, *dependencies[handler]) for event, handler in SUBSCRIPTIONS.items()
    }


SUBSCRIPTIONS: dict[type[Any], Any] = {
    OutcomeRecorded: record_outcomes,
    EventSetAside: record_set_aside,
    DecisionSeriesNeeded: declare_all_series,
    JourneySeriesNeeded: declare_all_series,
}


def _to_call(outcome: OutcomeRecorded) -> Call:
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
