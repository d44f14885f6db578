"""What resolvers may use, built anew for each request; and who may see what."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from strawberry.dataloader import DataLoader

from services.chassis.masking import USUAL, Masking
from services.chassis.principal import Principal
from services.chassis.resolvers import make_loader
from services.decision.service.customers import has_access, require_own
from services.decision.service.deciding import DecisionContext
from services.decision.store import decisions, outcomes
from services.decision.store.customers import CustomerRef
from services.decision.store.decisions import DecisionRecord
from services.decision.store.outcomes import OutcomeRecord


@dataclass
class Context:
    """One request: its caller, what deciding needs, and loaders that batch its reads."""

    principal: Principal
    decision_context: DecisionContext
    masking: Masking = USUAL

    @cached_property
    def decisions(self) -> DataLoader[UUID, DecisionRecord | None]:
        return make_loader(self.decision_context.database, decisions.load_by_id, None)

    @cached_property
    def outcomes(self) -> DataLoader[UUID, Sequence[OutcomeRecord]]:
        """The outcomes of a decision, by its id."""
        return make_loader(self.decision_context.database, outcomes.load_by_decision, ())

    async def require_own(self, ref: CustomerRef) -> None:
        """Raise Forbidden for another customer than the caller's own, if it acts for one, and for
        an identity it may not name customers by.
        """
        if ref.type is not None:
            self.principal.check_lookup(ref.type)
        if not has_access(self.principal, ref):
            async with self.decision_context.database.connection() as connection:
                await require_own(connection, self.principal, ref)
