"""What hearing events and firing timers have in common."""

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
from services.journey.service.journey_cache import Book, Library
from services.journey.service.journey_state import Standing
from services.journey.service.persistence import write
from services.journey.store import customers


class Alarm:
    """Tells the timer runner of this process that a timer was set, so that it oversleeps none."""

    def __init__(self) -> None:
        self._earliest: datetime | None = None
        self._set = asyncio.Event()

    def expect(self, due_at: datetime) -> None:
        """A timer for this moment is being written."""
        if self._earliest is None or due_at < self._earliest:
            self._earliest = due_at
            self._set.set()

    def forget(self) -> datetime | None:
        """Start afresh; gives the earliest moment that was expected."""
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
    library: Library = field(default_factory=Library)
    alarm: Alarm = field(default_factory=Alarm)
    new_id: Callable[[], UUID] = new_id

    async def standing(
        self,
        connection: Connection,
        book: Book,
        ids: Collection[UUID],
        instances: Iterable[Instance],
    ) -> Standing:
        """Where customers stand, by the snapshots held and the instances given."""
        known = await customers.snapshots(connection, ids)
        instances = list(instances)
        await book.prepare((instance.journey, instance.version) for instance in instances)
        return Standing(book, self.clock(), known, instances, self.new_id)

    async def write(self, connection: Connection, standing: Standing) -> None:
        """Write and publish all that changed, and have the alarm set for new timers."""
        await write(connection, standing, self.clock(), self.new_id)
        due = [
            instance.due_at for instance in standing.changed.values() if instance.due_at is not None
        ]
        if due:
            self.alarm.expect(min(due))
