"""From events to the read model. Events may arrive repeatedly, and in any order."""

from collections.abc import Sequence

from services.chassis.consumer import Subscriptions
from services.chassis.database import Connection
from services.contracts.journey import InstanceEnded, StepEntered
from services.contracts.profile import CustomerChanged, CustomersMerged
from services.decision.domain.merges import resolve_merges
from services.decision.store import customers


async def save_customers(connection: Connection, events: Sequence[CustomerChanged]) -> None:
    """Save the latest snapshot of each customer, and their identities."""
    customer_ids = [event.customer_id for event in events if event.customer_id]
    await customers.block_merges(connection, customer_ids)
    newer = await customers.save_snapshots(connection, events)
    await customers.save_identities(connection, newer)


async def merge_customers(connection: Connection, events: Sequence[CustomersMerged]) -> None:
    """Move what belongs to a merged customer to the one they are now."""
    pairs = [(event.from_customer_id, event.customer_id) for event in events if event.customer_id]
    await customers.lock_for_merge(connection, [source for source, _ in pairs])
    earlier = await customers.load_merges(connection, [one for pair in pairs for one in pair])
    merges = resolve_merges(pairs, earlier)
    await customers.merge(connection, merges)


async def save_steps(connection: Connection, events: Sequence[StepEntered | InstanceEnded]) -> None:
    """Save where instances of journeys are, and which have ended."""
    states = [
        (event.customer_id, event.state, isinstance(event, InstanceEnded))
        for event in events
        if event.customer_id
    ]
    await customers.block_merges(connection, [customer for customer, _, _ in states])
    await customers.save_journey_states(connection, states)


SUBSCRIPTIONS: Subscriptions = {
    CustomerChanged: save_customers,
    CustomersMerged: merge_customers,
    StepEntered: save_steps,
    InstanceEnded: save_steps,
}
