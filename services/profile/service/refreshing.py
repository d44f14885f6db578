"""Customers recomputed behind the scenes: when the rulebook changed, and when a window passed."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from services.chassis import outbox
from services.chassis.bus import BusUnavailable
from services.chassis.clock import Clock
from services.chassis.database import Connection, Database
from services.profile.service.catching_up import catch_up, snapshots, write
from services.profile.service.rulebooks import Rulebooks
from services.profile.store import customers as customer_store
from services.profile.store import identities as identity_store

LOOK_AGAIN_S = 0.02


@dataclass
class Refresher:
    """Recomputes customers in chunks, beside other replicas that do the same."""

    database: Database
    rulebooks: Rulebooks
    clock: Clock
    every_s: float
    chunk: int
    backlog: Callable[[], Awaitable[int]]
    """How many snapshots are still on their way to those who listen."""
    _called: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Look for work now instead of at the end of the pause."""
        self._called.set()

    async def run(self) -> None:
        """Refresh until cancelled; wait while listeners are behind by more than a chunk.

        So a visitor's own event never queues behind a whole customer base being recomputed.
        """
        while True:
            self._called.clear()
            if await self._road_is_full():
                await asyncio.sleep(LOOK_AGAIN_S)
            elif not await self.refresh_some():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.every_s):
                        await self._called.wait()

    async def _road_is_full(self) -> bool:
        try:
            return await self.backlog() > self.chunk
        except BusUnavailable:
            return True

    async def refresh_some(self) -> int:
        """Refresh one chunk in a transaction of its own, and say how many customers it had."""
        async with self.database.transaction() as connection:
            return await refresh(connection, self.rulebooks, self.clock(), self.chunk)


async def refresh(connection: Connection, rulebooks: Rulebooks, now: datetime, limit: int) -> int:
    """Recompute up to `limit` customers that are out of date or due at `now`."""
    rulebook = await rulebooks.current(connection)
    ids = await customer_store.claim_outdated(connection, rulebook.version, limit)
    ids = ids or await customer_store.claim_due(connection, now, limit)
    if ids:
        await _recompute(connection, rulebooks, ids, now)
    return len(ids)


async def _recompute(
    connection: Connection, rulebooks: Rulebooks, ids: list[UUID], now: datetime
) -> None:
    rulebook = await rulebooks.current(connection)
    customers = await customer_store.read(connection, ids)
    for one, identities in (await identity_store.held(connection, customers)).items():
        customers[one].identities = identities
    await customer_store.fill_in(connection, customers)
    await catch_up(connection, rulebooks, rulebook, customers.values(), now)
    for customer in customers.values():
        rulebook.decide(customer, now)
        customer.version += customer.changed
    await write(connection, list(customers.values()), (), now)
    await outbox.publish(connection, snapshots(rulebook, customers.values(), now))
