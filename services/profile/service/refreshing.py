"""Customers recomputed behind the scenes: when the rulebook changed, and when a window passed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from services.chassis import outbox, telemetry
from services.chassis.clock import Clock
from services.chassis.database import Connection, Database, DatabaseUnavailable
from services.chassis.isolation import SET_ASIDE, Failure, act_apart
from services.profile.service.customers import catch_up, snapshots, write
from services.profile.service.segment_cache import Rulebooks
from services.profile.store import customers as customer_store
from services.profile.store import identities as identity_store

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 0.02


class TookTooLong(Exception):
    """Recomputing one customer alone takes longer than a statement may."""


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
    _limit: int = 0
    """Customers of the next chunk; 0: as many as `chunk`."""

    def wake(self) -> None:
        """Look for work now instead of at the end of the pause."""
        self._called.set()

    async def run(self) -> None:
        """Refresh until cancelled; wait while listeners are behind by more than a chunk.

        So a visitor's own event never queues behind a whole customer base being recomputed. Raises
        BusUnavailable when nobody can say how far behind they are.
        """
        while True:
            self._called.clear()
            if await self.backlog() > self.chunk:
                await asyncio.sleep(LOOK_AGAIN_S)
            elif not await self.refresh_some():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.every_s):
                        await self._called.wait()

    async def refresh_some(self) -> int:
        """Refresh one chunk in a transaction of its own, and say how many customers it had.

        One that takes too long is followed by a smaller one: down to whoever takes so long alone.
        """
        limit = self._limit or self.chunk
        try:
            async with self.database.transaction() as connection:
                done = await refresh(connection, self.rulebooks, self.clock(), limit)
        except DatabaseUnavailable as error:
            if isinstance(error.__cause__, TimeoutError):
                self._limit = max(1, limit // 2)
            raise
        self._limit = min(self.chunk, limit * 2)
        return done


async def refresh(connection: Connection, rulebooks: Rulebooks, now: datetime, limit: int) -> int:
    """Recompute up to `limit` customers that are out of date or due at `now`.

    Raises TimeoutError when several together take too long.
    """
    rulebook = await rulebooks.current(connection)
    ids = (
        await customer_store.claim_retry(connection, now)
        or await customer_store.claim_outdated(connection, rulebook.version, limit)
        or await customer_store.claim_due(connection, now, limit)
    )
    if ids:
        await recompute(connection, rulebooks, ids, now)
    return len(ids)


async def recompute(
    connection: Connection, rulebooks: Rulebooks, ids: Sequence[UUID], now: datetime
) -> None:
    """Recompute customers, who are locked, by the rulebook in force, and tell what changes.

    One that cannot be is set aside for a while, so that the others go on; and then tried alone.
    Raises TimeoutError when several together take too long.
    """

    async def act(some: Sequence[UUID]) -> Sequence[None]:
        try:
            async with connection.transaction():
                await _recompute(connection, rulebooks, some, now)
        except TimeoutError as error:
            if len(ids) == 1:  # it is this customer who takes so long
                raise TookTooLong from error
            raise
        return [None] * len(some)

    done = dict(zip(ids, await act_apart(connection, ids, act), strict=True))
    await customer_store.take_back(
        connection, [one for one, failure in done.items() if not failure]
    )
    if failed := {one: failure for one, failure in done.items() if failure}:
        await _set_aside(connection, failed, now)


async def _set_aside(connection: Connection, failed: Mapping[UUID, Failure], now: datetime) -> None:
    for customer, failure in failed.items():
        SET_ASIDE.labels("profile", "refresh", failure.reason).inc()
        fields = {"customer": str(customer), "because": telemetry.describe(failure.error)}
        log.error("a customer is set aside", extra={"fields": fields})
    reasons = {customer: failure.reason for customer, failure in failed.items()}
    await customer_store.set_aside(connection, reasons, now)


async def _recompute(
    connection: Connection, rulebooks: Rulebooks, ids: Sequence[UUID], now: datetime
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
