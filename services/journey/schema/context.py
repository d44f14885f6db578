"""What resolvers may use, made anew for each request; and who may see and do what."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from strawberry.dataloader import DataLoader

from services.chassis.database import Database
from services.chassis.graphql import masking_for
from services.chassis.masking import USUAL, Masking
from services.chassis.principal import Forbidden, Principal
from services.journey.domain.instance import Instance
from services.journey.domain.journey import Journey
from services.journey.service import queries
from services.journey.service.engine import Engine
from services.journey.service.journey_cache import Book, Version
from services.journey.store import instances, messages, tallies
from services.journey.store.instances import StepTaken
from services.journey.store.messages import Message
from services.journey.store.tallies import Count, Place


@dataclass
class Context:
    """One request: its caller, what the service offers, and loaders that batch its reads."""

    principal: Principal
    database: Database
    engine: Engine
    masking: Masking = USUAL
    instances: DataLoader[tuple[UUID, bool | None], list[Instance]] = field(init=False)
    """By customer, and whether those under way are meant, the ended ones, or both."""
    steps: DataLoader[tuple[UUID, UUID], list[StepTaken]] = field(init=False)
    """By customer and instance."""
    inboxes: DataLoader[tuple[UUID, int], list[Message]] = field(init=False)
    """By customer and number of messages."""
    counts: DataLoader[Version, dict[Place, Count]] = field(init=False)

    def __post_init__(self) -> None:
        self.instances = DataLoader(load_fn=self._load_instances)
        self.steps = DataLoader(load_fn=self._load_steps)
        self.inboxes = DataLoader(load_fn=self._load_inboxes)
        self.counts = DataLoader(load_fn=self._load_counts)

    @classmethod
    def factory(
        cls, database: Database, engine: Engine, masking: Masking = USUAL
    ) -> Callable[[Principal], "Context"]:
        """What makes the context of a caller."""
        return lambda principal: cls(principal, database, engine, masking)

    async def book(self) -> Book:
        """All published journeys."""
        async with self.database.connection() as connection:
            return await self.engine.library.book(connection)

    async def followed(self, customer: UUID) -> dict[UUID, Journey]:
        """The journey each of a customer's instances follows, needed to mask; else none."""
        if masking_for(self) is None:
            return {}
        book, found = await self.book(), await self.instances.load((customer, None))
        await book.prepare((instance.journey, instance.version) for instance in found)
        return {instance.id: book.journey(instance.journey, instance.version) for instance in found}

    async def require_own(self, customer: UUID) -> None:
        """Let a caller who speaks for one customer see no other; raises Forbidden."""
        if not self.principal.own_customer_only:
            return
        async with self.database.connection() as connection:
            own = await queries.is_own(connection, self.principal, customer)
        if not own:
            raise Forbidden(
                "This is not the customer your token speaks for.",
                hint="Ask for your own customer, or use a token of an agent.",
            )

    async def _load_instances(self, asked: list[tuple[UUID, bool | None]]) -> list[list[Instance]]:
        found = {}
        async with self.database.connection() as connection:
            for active in {active for _, active in asked}:
                ids = [customer for customer, which in asked if which is active]
                found[active] = await instances.shown(connection, ids, active)
        return [found[active][customer] for customer, active in asked]

    async def _load_steps(self, asked: list[tuple[UUID, UUID]]) -> list[list[StepTaken]]:
        async with self.database.connection() as connection:
            found = await instances.steps(connection, asked)
        return [found[instance] for _, instance in asked]

    async def _load_inboxes(self, asked: list[tuple[UUID, int]]) -> list[list[Message]]:
        async with self.database.connection() as connection:
            most = max(first for _, first in asked)
            found = await messages.latest(connection, {customer for customer, _ in asked}, most)
        return [found[customer][:first] for customer, first in asked]

    async def _load_counts(self, asked: list[Version]) -> list[dict[Place, Count]]:
        async with self.database.connection() as connection:
            found = await tallies.sums(connection, asked)
        return [
            {place: count for place, count in found.items() if place[:2] == version}
            for version in asked
        ]
