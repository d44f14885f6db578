"""What handling events and firing timers have in common."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.database import Connection
from services.chassis.ids import new_id
from services.journey.domain.instance import Instance
from services.journey.service.journey_cache import JourneyCache, JourneySet
from services.journey.service.journey_state import JourneyState
from services.journey.service.persistence import save_changes
from services.journey.store import customers


class Alarm:
    """Wakes the timer runner of this process when an earlier timer is set."""

    def __init__(self) -> None:
        self._earliest: datetime | None = None
        self._set = asyncio.Event()

    def expect(self, due_at: datetime) -> None:
        """A timer for this moment is being written."""
        if self._earliest is None or due_at < self._earliest:
            self._earliest = due_at
            self._set.set()

    def forget(self) -> datetime | None:
        """Start afresh; returns the earliest moment that was expected."""
        earliest, self._earliest = self._earliest, None
        self._set.clear()
        return earliest

    async def wait(self, timeout_s: float) -> None:
        """Sleep until a timer is set, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._set.wait()


@dataclass(frozen=True)
class Engine:
    """The journeys of this process and how they are run."""

    clock: Clock
    enter_late: timedelta
    """How old an event may be and still let its customer in, where the journey says nothing."""
    patience_s: float
    """Longest wait for snapshots that contain a list of events."""
    cache: JourneyCache = field(default_factory=JourneyCache)
    alarm: Alarm = field(default_factory=Alarm)
    new_id: Callable[[], UUID] = new_id

    async def load_state(
        self,
        connection: Connection,
        journeys: JourneySet,
        ids: Collection[UUID],
        instances: Iterable[Instance],
    ) -> JourneyState:
        """The state of customers, from their stored snapshots and these instances."""
        snapshots = await customers.load_snapshots(connection, ids)
        instances = list(instances)
        await journeys.compile((instance.journey, instance.version) for instance in instances)
        return JourneyState(journeys, self.clock(), snapshots, instances, self.new_id)

    async def save(self, connection: Connection, state: JourneyState) -> None:
        """Write and publish all that changed, and set the alarm for new timers."""
        await save_changes(connection, state, self.clock(), self.new_id)
        due = [
            instance.due_at for instance in state.changed.values() if instance.due_at is not None
        ]
        if due:
            self.alarm.expect(min(due))
