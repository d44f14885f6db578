"""Customers on their way into and out of a transaction: loaded, recomputed, written, published."""

from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.ids import new_id
from services.contracts.profile import CustomerChanged
from services.profile.domain.customer import Customer
from services.profile.domain.segment_definitions import SegmentDefinitions
from services.profile.service.segment_cache import SegmentCache
from services.profile.store import customers as store
from services.profile.store import events
from services.profile.store import identities as identity_store


async def read_customers(connection: Connection, ids: Collection[UUID]) -> dict[UUID, Customer]:
    """Customers with all that is known of them; merged ones are absent."""
    customers = await store.read(connection, ids)
    await read_details(connection, customers)
    return customers


async def read_details(connection: Connection, customers: dict[UUID, Customer]) -> None:
    """Read the identities, traits, consents and memberships of customers into them."""
    for customer_id, links in (await identity_store.read_links(connection, customers)).items():
        customers[customer_id].identities = set(links)
    await store.read_values(connection, customers)


async def recompute_series(
    connection: Connection,
    cache: SegmentCache,
    definitions: SegmentDefinitions,
    customers: Iterable[Customer],
    now: datetime,
) -> None:
    """Compute from their raw events the series that customers of another version lack."""
    outdated = [one for one in customers if one.rules_version != definitions.version]
    if not outdated:
        return
    versions = {customer.rules_version for customer in outdated}
    computed = await cache.computed_versions(connection, versions)
    missing = {one: definitions.missing_series(computed[one].series) for one in versions}
    names = {one.event for series in missing.values() for one in series.series.values()}
    ids = [c.id for c in outdated if missing[c.rules_version].series]
    histories = await events.read_histories(connection, ids, names)
    for customer in outdated:
        history, version = histories.get(customer.id, []), customer.rules_version
        definitions.recompute_series(customer, computed[version], missing[version], history, now)


async def write_customers(
    connection: Connection,
    customers: Collection[Customer],
    created: Collection[UUID],
    now: datetime,
) -> int:
    """Write customers with all that is new of them; gives how many of the created were inserted."""
    new = [customer for customer in customers if customer.id in created]
    await store.update(connection, [one for one in customers if one.id not in created], now)
    inserted = await store.insert(connection, new, now)
    await store.write_values(connection, customers)
    return inserted


def make_snapshots(
    definitions: SegmentDefinitions, customers: Iterable[Customer], now: datetime
) -> list[CustomerChanged]:
    """The snapshots to publish: of the customers that changed, all of them of these definitions."""
    return [
        customer.snapshot(new_id(), now, definitions.answers)
        for customer in customers
        if customer.is_changed
    ]
