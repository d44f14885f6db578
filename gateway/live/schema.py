"""What live has of the graph: one subscription, which tells what happens with one customer.

Customer, decision and action stand here by their keys only: whatever else is asked of them, their
own services answer, anew for each activity.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import strawberry
from strawberry.federation.schema_directives import Key, RequiresScopes
from strawberry.federation.types import FieldSet
from strawberry.scalars import JSON

from gateway.live.activity import Activity, ActivityKind, CustomerDiff
from gateway.live.customer_watch import CustomerWatch
from services.chassis.authorization import DECISIONS, STAFF, for_staff
from services.chassis.graphql import Schema
from services.chassis.masking import MASK, USUAL, Hide, Masking, as_written, hidden_texts
from services.chassis.principal import Principal
from services.contracts.decision import DecisionMade, OutcomeRecorded
from services.contracts.journey import InstanceEnded, InstanceState, MessageDue, StepEntered
from services.contracts.profile import CustomersMerged, EventRecorded
from services.contracts.words import Channel, OutcomeKind

CustomerRefJson = dict[str, Any]
"""A CustomerRef as plain JSON."""


@dataclass(frozen=True, slots=True)
class LiveContext:
    """What the subscription may use: who is meant, and an ear for him."""

    principal: Principal
    find: Callable[[CustomerRefJson], Awaitable[UUID]]
    watching: Callable[[UUID], AbstractAsyncContextManager[CustomerWatch]]
    masking: Masking = USUAL


Info = strawberry.Info[LiveContext, None]


def elsewhere(key: str) -> Key:
    """The key of an entity that is named here and told by another service."""
    return Key(fields=FieldSet(key), resolvable=False)


strawberry.enum(Channel)
strawberry.enum(OutcomeKind)


@strawberry.input(description="What a customer is known by.")
class IdentityInput:
    """One identity, as it is written."""

    type: str
    value: str


@strawberry.input(description="Who is meant: one of these.")
class CustomerRef:
    """By id or by identity; profile judges what it means."""

    id: strawberry.ID | None = strawberry.UNSET
    identity: IdentityInput | None = strawberry.UNSET

    def as_json(self) -> CustomerRefJson:
        """What was given, for profile."""
        given: CustomerRefJson = {"id": str(self.id)} if self.id else {}
        if self.identity:
            given["identity"] = {"type": self.identity.type, "value": self.identity.value}
        return given


@strawberry.federation.type(keys=[elsewhere("id")])
class Customer:
    """A customer, told by profile and others."""

    id: strawberry.ID


@strawberry.federation.type(keys=[elsewhere("id")], requires_scopes=DECISIONS)
class Decision:
    """A decision, told by decision."""

    id: strawberry.ID


@strawberry.federation.type(keys=[elsewhere("key")])
class Action:
    """An action, told by decision."""

    key: strawberry.ID


@strawberry.federation.type(shareable=True, description="An amount in minor units of a currency.")
class Money:
    """As everywhere in the graph."""

    cents: int
    currency: str


@strawberry.type(description="Something a customer did.")
class ActivityEvent:
    """Of a recorded event."""

    name: str
    properties: JSON | None

    @classmethod
    def of(cls, event: EventRecorded) -> Self:
        """From the bus."""
        return cls(name=event.name, properties=JSON(event.properties))


@strawberry.type(description="What is different about a customer, by name. Ask him for the values.")
class ActivityChanges:
    """Names only."""

    traits: list[str]
    consents: list[str] = strawberry.field(description="Purposes.")
    segments_entered: list[strawberry.ID]
    segments_left: list[strawberry.ID]
    identities: list[str] = strawberry.field(description="Types of those that came or went.")

    @classmethod
    def of(cls, changes: CustomerDiff) -> Self:
        """From two snapshots."""
        return cls(
            traits=list(changes.traits),
            consents=list(changes.consents),
            segments_entered=[strawberry.ID(key) for key in changes.segments_entered],
            segments_left=[strawberry.ID(key) for key in changes.segments_left],
            identities=list(changes.identities),
        )


@strawberry.federation.type(
    description="Two customers turned out to be one.", requires_scopes=[["identities:read"]]
)
class ActivityMerge:
    """Who became whom."""

    id: strawberry.ID = strawberry.field(description="Of the change, by which it can be undone.")
    from_customer: strawberry.ID = strawberry.field(description="Who is gone.")
    into_customer: Customer | None = strawberry.field(description="Who he is now.")
    reason: str

    @classmethod
    def of(cls, event: CustomersMerged) -> Self:
        """From the bus."""
        return cls(
            id=strawberry.ID(str(event.change_id)),
            from_customer=strawberry.ID(str(event.from_customer_id)),
            into_customer=Customer(id=strawberry.ID(str(event.customer_id))),
            reason=event.reason,
        )


@strawberry.federation.type(description="What became of a proposition.", requires_scopes=DECISIONS)
class ActivityOutcome:
    """Of a recorded outcome."""

    id: strawberry.ID
    proposition: strawberry.ID
    kind: OutcomeKind
    action: Action | None
    treatment: strawberry.ID | None = for_staff()
    channel: Channel
    placement: str
    value: Money | None
    reason: str | None = for_staff("What an agent noted.")

    @classmethod
    def of(cls, event: OutcomeRecorded) -> Self:
        """From the bus."""
        value = event.value
        return cls(
            id=strawberry.ID(str(event.outcome_id)),
            proposition=strawberry.ID(str(event.proposition_id)),
            kind=OutcomeKind(event.kind),
            action=Action(key=strawberry.ID(event.action)),
            treatment=strawberry.ID(event.treatment),
            channel=Channel(event.channel),
            placement=event.placement,
            value=Money(cents=value.cents, currency=value.currency) if value else None,
            reason=event.reason,
        )


@strawberry.federation.type(
    description="Where a customer's run of a journey stands.",
    policy=STAFF,
    requires_scopes=[["journeys:read"]],
)
class ActivityJourney:
    """Of a step, an end or a message."""

    instance: strawberry.ID
    journey: strawberry.ID
    version: int
    key: str = strawberry.field(description='What it is about beside the customer; "" if nothing.')
    step: strawberry.ID
    phase: str | None = strawberry.field(description="Of the customer: purchase, for example.")
    end_reason: str | None

    @classmethod
    def of(cls, state: InstanceState, end_reason: str | None = None) -> Self:
        """From the bus."""
        return cls(
            instance=strawberry.ID(str(state.instance_id)),
            journey=strawberry.ID(state.journey),
            version=state.version,
            key=state.key,
            step=strawberry.ID(state.step),
            phase=state.phase,
            end_reason=end_reason,
        )


@strawberry.type(description="Something a journey has to say to a customer.")
class ActivityMessage:
    """Of a message that is due."""

    id: strawberry.ID
    channel: Channel
    template: str | None = for_staff()
    content: JSON

    @classmethod
    def of(cls, event: MessageDue) -> Self:
        """From the bus."""
        return cls(
            id=strawberry.ID(str(event.message_id)),
            channel=Channel(event.channel),
            template=event.template,
            content=JSON(event.content),
        )


FACTS: Mapping[type, Callable[[Any], dict[str, Any]]] = {
    EventRecorded: lambda fact: {"event": ActivityEvent.of(fact)},
    CustomerDiff: lambda fact: {"changes": ActivityChanges.of(fact)},
    CustomersMerged: lambda fact: {"merge": ActivityMerge.of(fact)},
    DecisionMade: lambda fact: {"decision": _decision(fact)},
    OutcomeRecorded: lambda fact: {
        "decision": _decision(fact),
        "outcome": ActivityOutcome.of(fact),
    },
    StepEntered: lambda fact: {"journey": ActivityJourney.of(fact.state)},
    InstanceEnded: lambda fact: {"journey": ActivityJourney.of(fact.state, fact.reason)},
    MessageDue: lambda fact: {
        "journey": ActivityJourney.of(fact.state),
        "message": ActivityMessage.of(fact),
    },
}
"""What is filled in of an activity, by what was heard."""


def _decision(event: DecisionMade | OutcomeRecorded) -> Decision:
    return Decision(id=strawberry.ID(str(event.decision_id)))


@strawberry.type(
    description="Something that happened with a customer. What its kind does not tell is null."
)
class CustomerActivity:
    """One line on the agent's screen."""

    id: strawberry.ID
    at: datetime = strawberry.field(description="When it happened, not when it was told.")
    kind: ActivityKind
    customer: Customer | None = strawberry.field(
        description="Whom it is about; after a merge, who he is now."
    )
    event: ActivityEvent | None = None
    changes: ActivityChanges | None = None
    merge: ActivityMerge | None = None
    decision: Decision | None = None
    outcome: ActivityOutcome | None = None
    journey: ActivityJourney | None = None
    message: ActivityMessage | None = None

    @classmethod
    def of(cls, activity: Activity) -> Self:
        """As a watcher is told."""
        fact = activity.fact
        return cls(
            id=strawberry.ID(str(activity.id)),
            at=activity.at,
            kind=activity.kind,
            customer=Customer(id=strawberry.ID(str(activity.customer_id))),
            **(FACTS[type(fact)](fact) if fact else {}),
        )


@strawberry.type
class Subscription:
    """What can be watched."""

    @strawberry.subscription(  # type: ignore[untyped-decorator]
        description="What is happening with one customer, live: events, journey steps, decisions, "
        "outcomes. For the agent's screen. The first activity comes at once and says WATCHING.",
        directives=[RequiresScopes(scopes=[["customers:read"]])],
    )
    async def customer_activity(
        self, info: Info, ref: CustomerRef
    ) -> AsyncGenerator[CustomerActivity, None]:
        """Tell until nobody asks any more."""
        customer_id = await info.context.find(ref.as_json())
        async with info.context.watching(customer_id) as watch:
            while True:
                yield CustomerActivity.of(await watch.next())


HIDES: Mapping[str, Hide] = {
    "ActivityJourney.key": lambda masking, journey, key: MASK if key else "",
    "ActivityMessage.content": lambda masking, message, content: hidden_texts(content),
    "Money": as_written,
}
"""Here nobody knows which property the key of a run is, nor which of a message's values were filled
in: both are hidden whole. Journey tells what may be seen of them; all else is hidden plainly.
"""

schema = Schema(subscription=Subscription, hides=HIDES)
