"""What resolvers may use, built for each request; and whose data a caller may read."""

from dataclasses import dataclass, field
from uuid import UUID

from strawberry.dataloader import DataLoader

from services.chassis.database import Database
from services.chassis.graphql import masking_for
from services.chassis.masking import USUAL, Masking
from services.chassis.principal import Principal
from services.chassis.resolvers import make_loader, not_own_customer
from services.journey.domain.instance import Instance
from services.journey.domain.journey import Journey
from services.journey.service import queries
from services.journey.service.engine import Engine
from services.journey.service.journey_cache import JourneySet, JourneyVersion
from services.journey.store import instances, messages, tallies
from services.journey.store.instances import StepRecord
from services.journey.store.messages import InboxMessage
from services.journey.store.tallies import StepCount


@dataclass
class Context:
    """One request: its caller, what the service offers, and loaders that batch its reads."""

    principal: Principal
    database: Database
    engine: Engine
    masking: Masking = USUAL
    instances: DataLoader[tuple[UUID, bool | None], list[Instance]] = field(init=False)
    """By customer, and whether to load the active, the ended (False), or both (None)."""
    steps: DataLoader[tuple[UUID, UUID], list[StepRecord]] = field(init=False)
    """By customer and instance."""
    inboxes: DataLoader[tuple[UUID, int], list[InboxMessage]] = field(init=False)
    """By customer and number of messages."""
    counts: DataLoader[JourneyVersion, dict[str, StepCount]] = field(init=False)
    """By version of a journey, of its steps."""

    def __post_init__(self) -> None:
        self.instances = DataLoader(load_fn=self._load_instances)
        self.steps = make_loader(self.database, instances.load_steps, [])
        self.inboxes = DataLoader(load_fn=self._load_inboxes)
        self.counts = make_loader(self.database, tallies.load_counts, {})

    async def load_journeys(self) -> JourneySet:
        async with self.database.connection() as connection:
            return await self.engine.cache.load(connection)

    async def load_masking_journeys(self, customer: UUID) -> dict[UUID, Journey]:
        """For a caller who gets masked values, the journey that each instance follows; else none.

        What is personal in an instance or message shows in the journey's definition.
        """
        if masking_for(self) is None:
            return {}
        journeys, found = await self.load_journeys(), await self.instances.load((customer, None))
        await journeys.compile((instance.journey, instance.version) for instance in found)
        return {instance.id: journeys.get(instance.journey, instance.version) for instance in found}

    async def require_own(self, customer: UUID) -> None:
        """Let a caller who speaks for one customer see no other; raises Forbidden."""
        if not self.principal.own_customer_only:
            return
        async with self.database.connection() as connection:
            own = await queries.is_own(connection, self.principal, customer)
        if not own:
            raise not_own_customer()

    async def _load_instances(self, keys: list[tuple[UUID, bool | None]]) -> list[list[Instance]]:
        found = {}
        async with self.database.connection() as connection:
            for active in {active for _, active in keys}:
                ids = [customer for customer, which in keys if which is active]
                found[active] = await instances.load_by_customer(connection, ids, active)
        return [found[active][customer] for customer, active in keys]

    async def _load_inboxes(self, keys: list[tuple[UUID, int]]) -> list[list[InboxMessage]]:
        async with self.database.connection() as connection:
            most = max(first for _, first in keys)
            found = await messages.load_latest(connection, {customer for customer, _ in keys}, most)
        return [found[customer][:first] for customer, first in keys]
