"""Events that measurement handles, with as few arguments as a test needs."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from services.contracts.decision import DecisionRecorded, Money, OutcomeRecorded, RankedAction
from services.contracts.enums import SenderClass
from services.contracts.journey import InstanceState, MessageDue
from services.contracts.profile import (
    CustomerChanged,
    CustomersMerged,
    EventRecorded,
    IdentityPayload,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
BROWSER = IdentityPayload(type="anonymous_id", value="browser-1")


def decision(
    customer: UUID,
    *actions: str,
    at: datetime = NOON,
    channel: str = "WEB",
    placement: str = "home",
    control_group: str | None = None,
) -> DecisionRecorded:
    """A decision that ranked these actions."""
    return DecisionRecorded(
        event_id=uuid4(),
        customer_id=customer,
        occurred_at=at,
        decision_id=uuid4(),
        channel=channel,
        placement=placement,
        control_group=control_group,
        propositions=tuple(
            RankedAction(
                proposition_id=uuid4(),
                rank=rank,
                action=action,
                treatment=f"{action}-on-{channel.lower()}",
                tracking_code=f"rk-{rank}",
                propensity=0.1,
                value=Money(cents=1_000, currency="EUR"),
                score=1.0 / rank,
            )
            for rank, action in enumerate(actions, start=1)
        ),
    )


def outcome(
    decision_event: DecisionRecorded,
    kind: str,
    rank: int = 1,
    *,
    at: datetime = NOON,
    cents: int | None = None,
    currency: str = "EUR",
    customer: UUID | None = None,
    sender: str = SenderClass.SERVER.value,
) -> OutcomeRecorded:
    """A reaction to a decision's proposition, by its customer or whom they have become."""
    ranked = decision_event.propositions[rank - 1]
    return OutcomeRecorded(
        event_id=uuid4(),
        customer_id=customer or decision_event.customer_id,
        occurred_at=at,
        outcome_id=uuid4(),
        decision_id=decision_event.decision_id,
        proposition_id=ranked.proposition_id,
        action=ranked.action,
        treatment=ranked.treatment,
        channel=decision_event.channel,
        placement=decision_event.placement,
        tracking_code=ranked.tracking_code,
        kind=kind,
        value=None if cents is None else Money(cents=cents, currency=currency),
        recorded_at=at,
        sender=sender,
    )


def message(customer: UUID, at: datetime = NOON) -> MessageDue:
    """A journey's message."""
    state = InstanceState(
        instance_id=uuid4(),
        journey="welcome",
        version=1,
        key="",
        step="greet",
        phase="orientation",
        sequence=1,
    )
    return MessageDue(
        event_id=uuid4(),
        customer_id=customer,
        occurred_at=at,
        message_id=uuid4(),
        state=state,
        channel="EMAIL",
        template="hello",
        content={"text": "Hello"},
    )


def event(
    customer: UUID,
    name: str = "page_viewed",
    *,
    at: datetime = NOON,
    properties: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    sender: str = SenderClass.SERVER.value,
) -> EventRecorded:
    """Something the customer did."""
    return EventRecorded(
        event_id=uuid4(),
        customer_id=customer,
        occurred_at=at,
        name=name,
        properties=properties or {},
        context=context or {},
        message_id=str(uuid4()),
        identity=BROWSER,
        received_at=at,
        customer_version=1,
        sender=sender,
    )


def merge(source: UUID, target: UUID, at: datetime = NOON) -> CustomersMerged:
    """One customer became another."""
    return CustomersMerged(
        event_id=uuid4(),
        customer_id=target,
        occurred_at=at,
        change_id=uuid4(),
        from_customer_id=source,
        identities=(BROWSER,),
        reason="logged in",
    )


def snapshot(customer: UUID, *identities: IdentityPayload, at: datetime = NOON) -> CustomerChanged:
    """A customer's snapshot, of which only the identities matter here."""
    return CustomerChanged(
        event_id=uuid4(),
        customer_id=customer,
        occurred_at=at,
        version=1,
        identities=identities,
        traits={},
        consents={},
        segments=(),
        series={},
    )
