"""Durable timers: an instance's `due_at`, claimed by the first runner, fired in one transaction.

A runner sleeps until the next timer, and is woken when this process sets an earlier one; what
another replica sets it sees when it looks again. A transaction that fails leaves its timers due.
"""

import logging
from datetime import timedelta

from services.chassis import telemetry
from services.chassis.database import AWAY, Connection, Database, is_away
from services.chassis.isolation import SET_ASIDE
from services.journey.domain.instance import Instance, TimerStimulus
from services.journey.service.engine import Engine
from services.journey.store import instances

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 1.0
"""How long a timer set by a replica that died may go unnoticed."""

PAUSE_S = 0.05
"""Least pause after finding nothing to claim: timers due may be in another runner's hands."""

POSTPONED = timedelta(minutes=5)
"""When a timer is tried again that could not be fired."""


class TimerRunner:
    """Fires timers that are due; any number of runners share the work."""

    def __init__(self, engine: Engine, database: Database, batch: int) -> None:
        self._engine = engine
        self._database = database
        self._batch = batch

    async def run(self) -> None:
        """Fire timers until cancelled."""
        while True:
            fired = await self.fire_due()
            if fired < self._batch:
                await self._engine.alarm.wait(await self._seconds_until_next())

    async def fire_due(self) -> int:
        """Fire one batch of timers, and say how many there were.

        A batch with a timer that cannot be fired is fired one by one, so that it harms no other.
        """
        try:
            return await self._fire(self._batch)
        except AWAY:
            raise
        except Exception as error:  # whatever an instance makes go wrong, the others must go on
            self._log_failure("timers not fired together", error)
        return await self._fire_singly()

    async def _fire(self, most: int) -> int:
        async with self._database.transaction() as connection:
            due = await instances.claim_due(connection, self._engine.clock(), most)
            await fire(self._engine, connection, due)
        return len(due)

    async def _fire_singly(self) -> int:
        for number in range(self._batch):
            async with self._database.transaction() as connection:
                due = await instances.claim_due(connection, self._engine.clock(), 1)
                if not due:
                    return number
                await self._fire_or_postpone(connection, due[0])
        return self._batch

    async def _fire_or_postpone(self, connection: Connection, instance: Instance) -> None:
        """Fire one timer; if that fails, undo what it did and set it to later."""
        try:
            async with connection.transaction():
                await fire(self._engine, connection, [instance])
        except Exception as error:  # whatever it was, it is logged, and tried again later
            if is_away(error, connection):
                raise
            self._log_failure("a timer is postponed", error)
            SET_ASIDE.labels("journey", "timers", type(error).__name__).inc()
            await instances.postpone(connection, instance, self._engine.clock() + POSTPONED)

    def _log_failure(self, what: str, error: Exception) -> None:
        log.error(what, extra={"fields": {"because": telemetry.describe(error)}})

    async def _seconds_until_next(self) -> float:
        """Seconds to sleep: to the next timer written, or being written, within bounds."""
        expected = self._engine.alarm.forget()
        async with self._database.connection() as connection:
            stored = await instances.load_next_due(connection)
        ahead = [moment for moment in (expected, stored) if moment is not None]
        if not ahead:
            return LOOK_AGAIN_S
        wait_s = (min(ahead) - self._engine.clock()).total_seconds()
        return min(max(wait_s, PAUSE_S), LOOK_AGAIN_S)


async def fire(engine: Engine, connection: Connection, due: list[Instance]) -> None:
    """Move the instances whose timers this transaction has claimed."""
    if not due:
        return
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
