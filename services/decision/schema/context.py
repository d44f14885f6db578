"""What resolvers may use, made anew for each request; and who may see what."""

from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from strawberry.dataloader import DataLoader

from services.chassis.masking import USUAL, Masking
from services.chassis.principal import Principal
from services.decision.service.customers import may_ask, require_own
from services.decision.service.deciding import Desk
from services.decision.store import decisions, outcomes
from services.decision.store.customers import Asked
from services.decision.store.decisions import Decision
from services.decision.store.outcomes import Outcome


@dataclass
class Context:
    """One request: its caller, what the service offers, and loaders that batch its reads."""

    principal: Principal
    desk: Desk
    masking: Masking = USUAL

    @cached_property
    def decisions(self) -> DataLoader[UUID, Decision | None]:
        """Decisions by id."""

        async def load(ids: list[UUID]) -> list[Decision | None]:
            async with self.desk.database.connection() as connection:
                found = await decisions.by_id(connection, ids)
            return [found.get(one) for one in ids]

        return DataLoader(load_fn=load)

    @cached_property
    def outcomes(self) -> DataLoader[UUID, list[Outcome]]:
        """The outcomes of a decision, by its id."""

        async def load(ids: list[UUID]) -> list[list[Outcome]]:
            async with self.desk.database.connection() as connection:
                found = await outcomes.by_decision(connection, ids)
            return [found.get(one, []) for one in ids]

        return DataLoader(load_fn=load)

    async def require_own(self, asked: Asked) -> None:
        """Raise Forbidden for another customer than the caller's own, if it speaks for one, and for
        an identity it may not name customers by.
        """
        if asked.type is not None:
            self.principal.check_lookup(asked.type)
        if not may_ask(self.principal, asked):
            async with self.desk.database.connection() as connection:
                await require_own(connection, self.principal, asked)
