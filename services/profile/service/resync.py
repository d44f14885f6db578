"""What profile tells again: merges, recent events and the snapshot of every customer."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.database import Connection
from services.chassis.ids import new_id
from services.chassis.resync import Page
from services.contracts.base import Event, Json
from services.profile.domain.customer import Customer
from services.profile.domain.enums import ChangeKind
from services.profile.domain.identities import Identity
from services.profile.service.recording import PUBLISHED, event_recorded, merged
from services.profile.service.refreshing import recompute
from services.profile.service.segment_cache import Rulebooks
from services.profile.store import customers as customer_store
from services.profile.store import events as event_store
from services.profile.store import identities as identity_store


class Customers:
    """Tells customers in the order of their ids, brought up to date as for any other news.

    Who cannot be keeps nobody waiting: their snapshot is told when they can.
    """

    def __init__(self, rulebooks: Rulebooks, clock: Clock) -> None:
        self._rulebooks = rulebooks
        self._clock = clock

    async def __call__(
        self, connection: Connection, after: Json | None, since: datetime, most: int
    ) -> Page:
        """Lock a page of customers, so that nothing newer is told before, and tell it."""
        now = self._clock()
        start = UUID(after) if after else None
        ids = await customer_store.page(connection, start, most, None)
        customers = await customer_store.lock(connection, ids)
        rulebook = await self._rulebooks.current(connection)
        late = {c.id for c in customers.values() if c.rules_version != rulebook.version}
        if late:
            late -= await customer_store.find_set_aside(connection, late)
            await recompute(connection, self._rulebooks, sorted(late), now)
            customers = await customer_store.read(connection, ids)
        for one, identities in (await identity_store.held(connection, customers)).items():
            customers[one].identities = identities
        await customer_store.fill_in(connection, customers)
        events = [
            *await _merges(connection, customers, since),
            *await _events(connection, customers, since),
            *(
                one.snapshot(new_id(), now, rulebook.answers)
                for one in customers.values()
                if one.rules_version == rulebook.version
            ),
        ]
        return Page(events, str(ids[-1]) if len(ids) == most else None)


async def _merges(
    connection: Connection, customers: dict[UUID, Customer], since: datetime
) -> Iterator[Event]:
    changes = await identity_store.changes(connection, customers)
    told = [
        merged(change, at)
        for of_one in changes.values()
        for change, at in of_one
        if change.kind is ChangeKind.MERGED and at >= since
    ]
    return iter(sorted(told, key=lambda merge: merge.event_id))


async def _events(
    connection: Connection, customers: dict[UUID, Customer], since: datetime
) -> Iterator[Event]:
    rows = await event_store.received_since(connection, customers, since, sorted(PUBLISHED))
    return (
        event_recorded(row, Identity(*came_by), customers[customer])
        for customer, came_by, row in rows
    )
