"""What a decision is made from, besides the catalogue and the propensities."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.contracts.enums import Channel
from services.decision.domain.contact_policies import Contact
from services.rules import Facts


@dataclass(frozen=True, slots=True)
class DecisionInput:
    customer_id: UUID
    channel: Channel
    placement: str
    limit: int
    """How many propositions are requested; a placement may hold fewer."""
    facts: Facts
    contacts: Sequence[Contact] = ()

    @property
    def now(self) -> datetime:
        return self.facts.now
