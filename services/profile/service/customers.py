"""Customers on their way into and out of a transaction: brought up to date, written, told of."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.ids import new_id
from services.contracts.profile import CustomerChanged
from services.profile.domain.customer import Customer
from services.profile.domain.segment_definitions import Kept, Rulebook
from services.profile.service.segment_cache import Rulebooks
from services.profile.store import customers as store
from services.profile.store import events
from services.rules import SeriesSet


async def catch_up(
    connection: Connection,
    rulebooks: Rulebooks,
    rulebook: Rulebook,
    customers: Iterable[Customer],
    now: datetime,
) -> None:
    """Compute from their raw events what customers of another version lack."""
    late = [customer for customer in customers if customer.rules_version != rulebook.version]
    if not late:
        return
    kept = await rulebooks.kept(connection, {customer.rules_version for customer in late})
    lacking = _lacking(rulebook, kept, late)
    names = {one.event for series in lacking.values() for one in series.series.values()}
    ids = [c.id for c in late if lacking[c.rules_version].series]
    histories = await events.histories(connection, ids, names)
    for customer in late:
        history, was = histories.get(customer.id, []), customer.rules_version
        rulebook.catch_up(customer, kept[was], lacking[was], history, now)


def _lacking(
    rulebook: Rulebook, kept: Mapping[int, Kept], late: Iterable[Customer]
) -> dict[int, SeriesSet]:
    versions = {customer.rules_version for customer in late}
    return {version: rulebook.missing(kept[version].series) for version in versions}


async def write(
    connection: Connection,
    customers: Collection[Customer],
    created: Collection[UUID],
    now: datetime,
) -> int:
    """Write customers with all that is new of them; says how many of the created were new."""
    new = [customer for customer in customers if customer.id in created]
    old = [customer for customer in customers if customer.id not in created]
    if old:
        await store.update(connection, old, now)
    written = await store.insert(connection, new, now) if new else 0
    await store.set_traits(connection, _new_traits(customers))
    await store.forget_traits(
        connection, [(c.id, filed) for c in customers for filed in c.old_traits]
    )
    await store.set_consents(connection, _new_consents(customers))
    await store.join_segments(
        connection, [(c.id, key, c.segments[key]) for c in customers for key in c.joined]
    )
    await store.leave_segments(connection, [(c.id, key) for c in customers for key in c.left])
    return written


def _new_traits(customers: Iterable[Customer]) -> list[store.NewTrait]:
    return [(c.id, filed, c.traits[filed]) for c in customers for filed in c.new_traits]


def _new_consents(customers: Iterable[Customer]) -> list[store.NewConsent]:
    return [(c.id, filed, c.consents[filed]) for c in customers for filed in c.new_consents]


def snapshots(
    rulebook: Rulebook, customers: Iterable[Customer], now: datetime
) -> list[CustomerChanged]:
    """What to tell of customers that changed; all of them are of this rulebook."""
    return [
        customer.snapshot(new_id(), now, rulebook.answers)
        for customer in customers
        if customer.changed
    ]
