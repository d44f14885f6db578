"""Recomputing customers in the background: after a new version, and when a window has passed."""

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
from services.profile.service.customers import (
    make_snapshots,
    read_customers,
    recompute_series,
    write_customers,
)
from services.profile.service.segment_cache import SegmentCache
from services.profile.store import customers as customer_store

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 0.02


class TookTooLong(Exception):
    """Recomputing a single customer takes longer than a statement may."""


@dataclass
class Refresher:
    """Recomputes customers in chunks, beside other replicas that do the same."""

    database: Database
    cache: SegmentCache
    clock: Clock
    every_s: float
    chunk: int
    backlog: Callable[[], Awaitable[int]]
    """How many snapshots have not reached all listeners."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _limit: int = 0
    """Customers of the next chunk; 0: as many as `chunk`."""

    def wake(self) -> None:
        """Look for work now instead of at the end of the pause."""
        self._wake.set()

    async def run(self) -> None:
        """Recompute until cancelled; wait while listeners are behind by more than a chunk.

        So a visitor's own event never queues behind a whole customer base being recomputed. Raises
        BusUnavailable when it cannot be known how far behind they are.
        """
        while True:
            self._wake.clear()
            if await self.backlog() > self.chunk:
                await asyncio.sleep(LOOK_AGAIN_S)
            elif not await self.recompute_chunk():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.every_s):
                        await self._wake.wait()

    async def recompute_chunk(self) -> int:
        """Recompute one chunk in a transaction of its own; gives how many customers it had.

        One that takes too long is followed by a smaller one: down to the one customer it is.
        """
        limit = self._limit or self.chunk
        try:
            async with self.database.transaction() as connection:
                count = await recompute_next(connection, self.cache, self.clock(), limit)
        except DatabaseUnavailable as error:
            if isinstance(error.__cause__, TimeoutError):
                self._limit = max(1, limit // 2)
            raise
        self._limit = min(self.chunk, limit * 2)
        return count


async def recompute_next(
    connection: Connection, cache: SegmentCache, now: datetime, limit: int
) -> int:
    """Recompute up to `limit` customers of an older version or due at `now`; gives how many.

    Raises TimeoutError when several take too long.
    """
    definitions = await cache.current(connection)
    ids = (
        await customer_store.claim_retry(connection, now)
        or await customer_store.claim_outdated(connection, definitions.version, limit)
        or await customer_store.claim_due(connection, now, limit)
    )
    if ids:
        await recompute(connection, cache, ids, now)
    return len(ids)


async def recompute(
    connection: Connection, cache: SegmentCache, ids: Sequence[UUID], now: datetime
) -> None:
    """Recompute customers, who are locked, by the definitions in force, and publish what changes.

    One that cannot be recomputed is set aside for a while, so that the others go on, and is then
    tried on its own. Raises TimeoutError when several take too long.
    """

    async def act(some: Sequence[UUID]) -> Sequence[None]:
        try:
            async with connection.transaction():
                await _recompute(connection, cache, some, now)
        except TimeoutError as error:
            if len(ids) == 1:  # it is this customer who takes so long
                raise TookTooLong from error
            raise
        return [None] * len(some)

    failures = dict(zip(ids, await act_apart(connection, ids, act), strict=True))
    await customer_store.end_set_aside(
        connection, [customer_id for customer_id, failure in failures.items() if not failure]
    )
    if failed := {customer_id: failure for customer_id, failure in failures.items() if failure}:
        await _set_aside(connection, failed, now)


async def _set_aside(connection: Connection, failed: Mapping[UUID, Failure], now: datetime) -> None:
    for customer, failure in failed.items():
        SET_ASIDE.labels("profile", "refresh", failure.reason).inc()
        fields = {"customer": str(customer), "because": telemetry.describe(failure.error)}
        log.error("a customer is set aside", extra={"fields": fields})
    reasons = {customer: failure.reason for customer, failure in failed.items()}
    await customer_store.set_aside(connection, reasons, now)


async def _recompute(
    connection: Connection, cache: SegmentCache, ids: Sequence[UUID], now: datetime
) -> None:
    definitions = await cache.current(connection)
    customers = await read_customers(connection, ids)
    await recompute_series(connection, cache, definitions, customers.values(), now)
    for customer in customers.values():
        definitions.assign_segments(customer, now)
        customer.version += customer.is_changed
    await write_customers(connection, list(customers.values()), (), now)
    await outbox.publish(connection, make_snapshots(definitions, customers.values(), now))
