"""The inputs of decision's part of the graph."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import strawberry
from strawberry.scalars import JSON

from services.chassis.json_scalar import check_depth
from services.decision.schema.enums import OutcomeKind
from services.decision.service.customers import parse_customer_ref
from services.decision.service.deciding import CurrentEvent
from services.decision.service.outcomes import OutcomeReport
from services.decision.store import customers


@strawberry.input(description="What a customer is known by.")
class IdentityInput:
    type: str
    value: str


@strawberry.input(description="Who is meant: one of these.")
class CustomerRef:
    id: strawberry.ID | None = strawberry.UNSET
    identity: IdentityInput | None = strawberry.UNSET

    def parse(self) -> customers.CustomerRef:
        """Raises InvalidCustomerRef unless there is exactly one reference."""
        identity = (self.identity.type, self.identity.value) if self.identity else None
        return parse_customer_ref(str(self.id) if self.id else None, identity)


@strawberry.input(
    description="What the customer is doing at this moment. It counts in this decision as if it "
    "had been tracked before; tracking it is still the caller's."
)
class EventInput:
    name: str
    properties: JSON | None = strawberry.UNSET
    at: datetime | None = strawberry.UNSET

    def parse(self) -> CurrentEvent:
        return CurrentEvent(self.name, to_json_object(self.properties), assume_utc(self.at))


@strawberry.input(description="An amount in minor units of a currency.")
class MoneyInput:
    cents: int
    currency: str


@strawberry.input(description="What became of a proposition.")
class OutcomeInput:
    proposition: strawberry.ID
    kind: OutcomeKind
    idempotency_key: str = strawberry.field(
        description="Chosen by the caller, one for each outcome: sending it again is harmless."
    )
    at: datetime | None = strawberry.UNSET
    value: MoneyInput | None = strawberry.UNSET
    reason: str | None = strawberry.UNSET

    def parse(self) -> OutcomeReport:
        return OutcomeReport(
            proposition=str(self.proposition),
            kind=self.kind,
            idempotency_key=self.idempotency_key,
            at=assume_utc(self.at),
            value=(self.value.cents, self.value.currency) if self.value else None,
            reason=self.reason or None,
        )


def to_json_object(value: JSON | None) -> Mapping[str, Any]:
    """A JSON object, empty if left out; the service checks whether it is an object.

    Raises JsonTooDeep.
    """
    check_depth(value, "The context or an event's properties")
    return cast(Mapping[str, Any], value or {})


def assume_utc(moment: datetime | None) -> datetime | None:
    """A moment without a time zone is UTC."""
    if not moment:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
