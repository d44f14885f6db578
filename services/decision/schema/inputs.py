"""The inputs of decision's part of the graph."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, cast

import strawberry
from strawberry.scalars import JSON

from services.chassis.json_scalar import check_depth
from services.chassis.schema import Channel, CustomerRef, OutcomeKind
from services.decision.service.customers import parse_id, parse_identity
from services.decision.service.deciding import CurrentEvent
from services.decision.service.outcomes import OutcomeReport
from services.decision.store import customers

RequestChannel = Annotated[
    Channel, strawberry.argument(description="Where the customer is spoken to now.")
]
RequestPlacement = Annotated[
    str,
    strawberry.argument(
        description="The key of a placement that the catalogue has on the channel; another one is "
        "`DECISION_UNKNOWN_PLACEMENT`."
    ),
]
RequestLimit = Annotated[
    int,
    strawberry.argument(
        description="At most so many propositions, 1 to 30, and no more than fit the placement."
    ),
]
RequestContext = Annotated[
    JSON | None,
    strawberry.argument(
        description="A JSON object about the moment, such as the page; conditions read it as "
        "`context.<name>`. At most 16 KB. It is stored with the decision."
    ),
]


@strawberry.input
class EventInput:
    """What the customer is doing at this moment. It counts in this decision as if it had been
    tracked before; tracking it is still the caller's.
    """

    name: str
    """As conditions call it: `product_viewed`. 1 to 200 characters."""
    properties: JSON | None = strawberry.UNSET
    """A JSON object of details, which conditions read as `event.<name>`. At most 16 KB."""
    at: datetime | None = strawberry.UNSET
    """When it happened; now if left out. A moment in the future is `DECISION_INVALID_REQUEST`."""

    def parse(self) -> CurrentEvent:
        return CurrentEvent(self.name, to_json_object(self.properties), assume_utc(self.at))


RequestEvent = Annotated[
    EventInput | None,
    strawberry.argument(description="What they are doing right now; null if that says nothing."),
]


@strawberry.input
class MoneyInput:
    """An amount of money."""

    cents: int
    """In minor units: 1250 is 12.50 of a currency with two decimals."""
    currency: str
    """ISO 4217, as in `EUR`. It must be that of the catalogue."""


@strawberry.input
class OutcomeInput:
    """How a customer reacted to a proposition, as its channel saw it."""

    proposition: strawberry.ID
    """The `id` or the `trackingCode` of a proposition that nextBestActions returned."""
    kind: OutcomeKind
    """The reaction. CONVERTED is accepted from servers and staff only (`DECISION_SERVER_OUTCOME`).
    """
    idempotency_key: str
    """Chosen by the caller, one for each outcome: sending it again is harmless."""
    at: datetime | None = strawberry.UNSET
    """When they reacted; now if left out. Neither before the decision nor in the future."""
    value: MoneyInput | None = strawberry.UNSET
    """What it was worth, if known; from browsers and apps at most the value of the action."""
    reason: str | None = strawberry.UNSET
    """A note of an agent, such as why they said no. Staff can read it."""
    customer: CustomerRef | None = strawberry.UNSET
    """Who reacted, for a caller that wants it checked: a proposition made for another customer is
    `DECISION_OTHER_CUSTOMER` then. Null leaves it to the proposition.
    """

    def parse(self) -> OutcomeReport:
        return OutcomeReport(
            proposition=str(self.proposition),
            kind=self.kind,
            idempotency_key=self.idempotency_key,
            at=assume_utc(self.at),
            value=(self.value.cents, self.value.currency) if self.value else None,
            reason=self.reason or None,
            customer=parse_customer(self.customer) if self.customer else None,
        )


def parse_customer(ref: CustomerRef) -> customers.CustomerRef:
    """Raises InvalidCustomerRef."""
    if ref.identity:
        return parse_identity(ref.identity.type, ref.identity.value)
    return parse_id(str(ref.id))


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
