"""Durable timers: an instance's `due_at`, claimed by the first runner, fired in one transaction.

A runner sleeps until the next timer, and looks for earlier ones within a second, which is the
shortest period a step can wait. A transaction that fails leaves its timers due.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from prometheus_client import Gauge

from services.chassis import telemetry
from services.chassis.clock import Clock
from services.chassis.database import Connection, Database
from services.chassis.isolation import SET_ASIDE, isolate_failures
from services.journey.domain.instance import Instance, TimerStimulus
from services.journey.service.engine import Engine
from services.journey.store import instances

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 1.0
"""Longest sleep: a timer that is set meanwhile is at least as far ahead."""

PAUSE_S = 0.05
"""Least pause after finding nothing to claim: another runner may have claimed what is due."""

POSTPONED = timedelta(minutes=5)
"""When a timer is tried again that could not be fired."""


OVERDUE = Gauge("raak_timers_overdue", "Timers due for 5 s and more, 10,000 and more as 10,000")
OVERDUE_AFTER = timedelta(seconds=5)


async def count_overdue(connection: Connection, clock: Clock) -> int:
    """How many timers should have fired by now."""
    return await instances.count_due(connection, clock() - OVERDUE_AFTER)


@dataclass(frozen=True)
class TimerRunner:
    """Fires timers that are due; any number of runners share the work."""

    engine: Engine
    database: Database
    batch: int

    async def run(self) -> None:
        while True:
            if await self.fire_due() < self.batch:
                await asyncio.sleep(await self._seconds_until_next())

    async def fire_due(self) -> int:
        """Fire one batch of timers, and say how many there were.

        One that cannot be fired is postponed, and harms no other.
        """
        async with self.database.transaction() as connection:
            due = await instances.claim_due(connection, self.engine.clock(), self.batch)

            async def act(some: Sequence[Instance]) -> list[None]:
                async with connection.transaction():
                    await fire(self.engine, connection, some)
                return [None] * len(some)

            failures = await isolate_failures(connection, due, act)
            for instance, failure in zip(due, failures, strict=True):
                if failure:
                    SET_ASIDE.labels("journey", "timers", failure.reason).inc()
                    fields = {"because": telemetry.describe(failure.error)}
                    log.error("a timer is postponed", extra={"fields": fields})
                    await instances.postpone(connection, instance, self.engine.clock() + POSTPONED)
        return len(due)

    async def _seconds_until_next(self) -> float:
        async with self.database.connection() as connection:
            due_at = await instances.load_next_due(connection)
        if due_at is None:
            return LOOK_AGAIN_S
        wait_s = (due_at - self.engine.clock()).total_seconds()
        return min(max(wait_s, PAUSE_S), LOOK_AGAIN_S)


async def fire(engine: Engine, connection: Connection, due: Sequence[Instance]) -> None:
    """Move the instances whose timers this transaction has claimed."""
    journeys = await engine.cache.load(connection)
    ids = {instance.customer_id for instance in due}
    claimed = {instance.id for instance in due}
    others = [
        instance
        for instance in await instances.load_active(connection, ids)
        if instance.id not in claimed
    ]
    state = await engine.load_state(connection, journeys, ids, [*due, *others])
    for instance in due:
        state.apply_to(instance, TimerStimulus())
    await engine.save(connection, state)
