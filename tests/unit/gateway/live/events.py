"""One of each event that is told, about one customer."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from services.contracts.base import Event
from services.contracts.decision import DecisionRecorded, Money, OutcomeRecorded
from services.contracts.journey import InstanceEnded, InstanceState, MessageDue, StepEntered
from services.contracts.profile import (
    CustomerChanged,
    CustomersMerged,
    EventRecorded,
    IdentityPayload,
)

ANN, BEN = UUID(int=0xA), UUID(int=0xB)
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ANNS = IdentityPayload(type="email", value="ann@example.com")
DECISION = UUID(int=0xD)


def about(customer: UUID = ANN) -> dict[str, Any]:
    """What every event has."""
    return {"event_id": uuid4(), "customer_id": customer, "occurred_at": AT}


def recorded(name: str = "Cart Viewed", customer: UUID = ANN) -> EventRecorded:
    return EventRecorded(
        **about(customer),
        name=name,
        properties={"price": 20},
        context={"ip": "10.0.0.1"},
        message_id="m1",
        identity=ANNS,
        received_at=AT,
        customer_version=2,
    )


def changed(version: int, customer: UUID = ANN, **traits: Any) -> CustomerChanged:
    return CustomerChanged(
        **about(customer),
        version=version,
        identities=(ANNS,),
        traits=traits,
        consents={},
        segments=(),
        series={},
    )


def merged(gone: UUID = BEN, into: UUID = ANN) -> CustomersMerged:
    return CustomersMerged(
        **about(into), change_id=uuid4(), from_customer_id=gone, identities=(), reason="login"
    )


def decision_recorded(customer: UUID = ANN) -> DecisionRecorded:
    return DecisionRecorded(
        **about(customer),
        decision_id=DECISION,
        channel="WEB",
        placement="home",
        propositions=(),
    )


def outcome() -> OutcomeRecorded:
    return OutcomeRecorded(
        **about(),
        outcome_id=UUID(int=1),
        decision_id=DECISION,
        proposition_id=UUID(int=2),
        action="jazz_weeks",
        treatment="jazz_banner",
        channel="WEB",
        placement="home",
        tracking_code="t1",
        kind="ACCEPTED",
        value=Money(cents=500, currency="EUR"),
        reason="liked it",
        recorded_at=AT,
    )


STATE = InstanceState(
    instance_id=UUID(int=3),
    journey="welcome",
    version=2,
    key="order-1",
    step="wait",
    phase="orientation",
    sequence=4,
)


def message() -> MessageDue:
    return MessageDue(
        **about(),
        message_id=UUID(int=4),
        state=STATE,
        channel="EMAIL",
        template="hello",
        content={"title": "Hi"},
    )


EVENTS: tuple[Event, ...] = (
    recorded(),
    changed(2, town="Delft"),
    merged(),
    decision_recorded(),
    outcome(),
    StepEntered(**about(), state=STATE),
    InstanceEnded(**about(), state=STATE, reason="bought"),
    message(),
)
