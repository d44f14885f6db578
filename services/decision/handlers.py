"""From events to the read model. Every handler may be given any event again, and in any order."""

from collections.abc import Sequence
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.handling import Subscriptions
from services.contracts.journey import InstanceEnded, InstanceState, StepEntered
from services.contracts.profile import CustomerChanged, CustomersMerged
from services.decision.domain.merges import resolved
from services.decision.store import customers


async def keep_customers(connection: Connection, events: Sequence[CustomerChanged]) -> None:
    """Keep the latest snapshot of each customer, and whose identities are whose."""
    about = [event.customer_id for event in events if event.customer_id]
    await customers.hold_off_merges(connection, about)
    newer = await customers.keep_snapshots(connection, events)
    await customers.keep_identities(connection, newer)


async def merge_customers(connection: Connection, events: Sequence[CustomersMerged]) -> None:
    """Move what one customer had to the one he is."""
    told = [(event.from_customer_id, event.customer_id) for event in events if event.customer_id]
    await customers.hold_for_merge(connection, [source for source, _ in told])
    earlier = await customers.became(connection, [one for merge in told for one in merge])
    merges = resolved(told, earlier)
    await customers.merge(connection, merges)


async def keep_steps(connection: Connection, events: Sequence[StepEntered]) -> None:
    """Keep where journeys stand."""
    told = [(event.customer_id, event.state, False) for event in events if event.customer_id]
    await _keep_states(connection, told)


async def end_journeys(connection: Connection, events: Sequence[InstanceEnded]) -> None:
    """Keep which journeys are over."""
    told = [(event.customer_id, event.state, True) for event in events if event.customer_id]
    await _keep_states(connection, told)


async def _keep_states(
    connection: Connection, told: Sequence[tuple[UUID, InstanceState, bool]]
) -> None:
    await customers.hold_off_merges(connection, [customer for customer, _, _ in told])
    await customers.keep_journey_states(connection, told)


SUBSCRIPTIONS: Subscriptions = {
    CustomerChanged: keep_customers,
    CustomersMerged: merge_customers,
    StepEntered: keep_steps,
    InstanceEnded: end_journeys,
}
