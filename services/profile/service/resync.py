"""Resync: profile publishes merges, recent events and every customer's snapshot again."""

from datetime import datetime
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.database import Connection
from services.chassis.ids import new_id
from services.chassis.resync import ResyncPage
from services.contracts.base import Event, Json
from services.profile.domain.customer import Customer
from services.profile.domain.enums import IdentityChangeKind
from services.profile.domain.identities import Identity
from services.profile.service.customers import read_details
from services.profile.service.recording import PUBLISHED, to_customers_merged, to_event_recorded
from services.profile.service.refreshing import recompute
from services.profile.service.segment_cache import SegmentCache
from services.profile.store import customers as customer_store
from services.profile.store import events as event_store
from services.profile.store import identities as identity_store


async def load_customers(
    cache: SegmentCache,
    clock: Clock,
    connection: Connection,
    after: Json | None,
    since: datetime,
    most: int,
) -> ResyncPage:
    """Lock a page of customers, so that nothing newer is published before, and recompute them.

    One that cannot be recomputed keeps nobody waiting: their snapshot is published once they can.
    """
    now = clock()
    start = UUID(after) if after else None
    ids = await customer_store.read_page(connection, start, most, None)
    customers = await customer_store.lock(connection, ids)
    definitions = await cache.current(connection)
    outdated = {c.id for c in customers.values() if c.rules_version != definitions.version}
    if outdated:
        outdated -= await customer_store.find_set_aside(connection, outdated)
        await recompute(connection, cache, sorted(outdated), now)
        customers = await customer_store.read(connection, ids)
    await read_details(connection, customers)
    events = [
        *await _read_merges(connection, customers, since),
        *await _read_events(connection, customers, since),
        *(
            one.snapshot(new_id(), now, definitions.answers)
            for one in customers.values()
            if one.rules_version == definitions.version
        ),
    ]
    return ResyncPage(events, str(ids[-1]) if len(ids) == most else None)


async def _read_merges(
    connection: Connection, customers: dict[UUID, Customer], since: datetime
) -> list[Event]:
    changes = await identity_store.read_changes(connection, customers)
    merges = (
        to_customers_merged(change, at)
        for history in changes.values()
        for change, at in history
        if change.kind is IdentityChangeKind.MERGED and at >= since
    )
    return sorted(merges, key=lambda merge: merge.event_id)


async def _read_events(
    connection: Connection, customers: dict[UUID, Customer], since: datetime
) -> list[Event]:
    rows = await event_store.read_received_since(connection, customers, since, sorted(PUBLISHED))
    return [
        to_event_recorded(event, Identity(*identity), customers[customer])
        for customer, identity, event in rows
    ]
