"""What handling events and firing timers have in common."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.database import Connection
from services.chassis.ids import new_id
from services.journey.domain.instance import Instance
from services.journey.service.journey_cache import JourneyCache, JourneySet
from services.journey.service.journey_state import JourneyState
from services.journey.service.persistence import save_changes
from services.journey.store import customers


@dataclass(frozen=True)
class Engine:
    """The journeys of this process and how they are run."""

    clock: Clock
    enter_late: timedelta
    """How old an event may be and still let its customer in; a journey may have its own limit."""
    patience_s: float
    """Longest wait for snapshots that contain a list of events."""
    cache: JourneyCache = field(default_factory=JourneyCache)
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
        await save_changes(connection, state, self.clock(), self.new_id)
