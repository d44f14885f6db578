"""What decision publishes."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from services.contracts.base import Event, Payload
from services.contracts.enums import SenderClass
from services.contracts.series import SeriesNeeded


class Money(Payload):
    """An amount in minor units (cents) of a currency (ISO 4217)."""

    cents: int
    currency: str


class RankedAction(Payload):
    proposition_id: UUID
    rank: int
    action: str
    treatment: str
    tracking_code: str
    propensity: float
    value: Money
    score: float


class DecisionRecorded(Event):
    """Offers were decided on for a customer. `occurred_at` is when."""

    fact: ClassVar[str] = "decision.made.v1"

    decision_id: UUID
    channel: str
    placement: str
    propositions: tuple[RankedAction, ...]
    withheld: tuple[str, ...] = ()
    """Actions that a control group withheld."""
    control_group: str | None = None
    degraded: str | None = None
    sender: str = SenderClass.SERVER.value
    """Who requested it, a `SenderClass`; a server where an older release did not say."""
    unproved: tuple[str, ...] = ()
    """What it may have used that only an untrusted sender reported: `event.product_viewed`."""


class OutcomeRecorded(Event):
    """A customer reacted to a proposition. `occurred_at` is when."""

    fact: ClassVar[str] = "decision.outcome_recorded.v1"

    outcome_id: UUID
    decision_id: UUID
    proposition_id: UUID
    action: str
    treatment: str
    channel: str
    placement: str
    tracking_code: str
    kind: str  # an `OutcomeKind`
    value: Money | None = None
    reason: str | None = None
    recorded_at: datetime
    sender: str = SenderClass.SERVER.value
    """Who reported it, a `SenderClass`; a server where an older release did not say."""

    @property
    def event_name(self) -> str:
        """Its name in a customer's history, for conditions: `outcome_accepted`, for one."""
        return f"outcome_{self.kind.lower()}"

    @property
    def event_properties(self) -> dict[str, Any]:
        return {
            "action": self.action,
            "treatment": self.treatment,
            "channel": self.channel,
            "placement": self.placement,
            "reason": self.reason,
            "value": self.value.model_dump() if self.value else None,
        }


class DecisionSeriesNeeded(SeriesNeeded):
    """The series that the conditions of the published catalogue need."""

    fact: ClassVar[str] = "decision.series_needed.v1"
