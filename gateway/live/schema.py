"""The subgraph `live`: one subscription, to what happens with one customer.

Customer, decision and action are here by their keys only: their own services resolve all else of
them, again for each activity.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
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
from services.chassis.masking import MASK, USUAL, Hide, Masking, leave_unmasked, mask_texts
from services.chassis.principal import Principal
from services.contracts.decision import DecisionRecorded, OutcomeRecorded
from services.contracts.enums import Channel, OutcomeKind
from services.contracts.journey import InstanceEnded, InstanceState, MessageDue, StepEntered
from services.contracts.profile import CustomersMerged, EventRecorded

CustomerRefJson = dict[str, Any]
"""A CustomerRef as plain JSON."""


@dataclass(frozen=True, slots=True)
class LiveContext:
    """What the subscription needs: how to find its customer, and how to watch them."""

    principal: Principal
    find_customer: Callable[[CustomerRefJson], Awaitable[UUID]]
    watch: Callable[[UUID], AbstractAsyncContextManager[CustomerWatch]]
    masking: Masking = USUAL


Info = strawberry.Info[LiveContext, None]


def external_key(key: str) -> Key:
    """The key of an entity that another subgraph resolves."""
    return Key(fields=FieldSet(key), resolvable=False)


strawberry.enum(Channel)
strawberry.enum(OutcomeKind)


@strawberry.input(description="What a customer is known by.")
class IdentityInput:
    """An identity by its type and value."""

    type: str
    value: str


@strawberry.input(description="A customer, by one of these.")
class CustomerRef:
    """A customer by id or by identity; profile finds them."""

    id: strawberry.ID | None = strawberry.UNSET
    identity: IdentityInput | None = strawberry.UNSET

    def as_json(self) -> CustomerRefJson:
        ref: CustomerRefJson = {"id": str(self.id)} if self.id else {}
        if self.identity:
            ref["identity"] = {"type": self.identity.type, "value": self.identity.value}
        return ref


@strawberry.federation.type(keys=[external_key("id")])
class Customer:
    """Resolved by profile and others."""

    id: strawberry.ID


@strawberry.federation.type(keys=[external_key("id")], requires_scopes=DECISIONS)
class Decision:
    """Resolved by decision."""

    id: strawberry.ID


@strawberry.federation.type(keys=[external_key("key")])
class Action:
    """Resolved by decision."""

    key: strawberry.ID


@strawberry.federation.type(shareable=True, description="An amount in minor units of a currency.")
class Money:
    """Shared by all subgraphs."""

    cents: int
    currency: str


@strawberry.type(description="Something a customer did.")
class ActivityEvent:
    """The content of an EVENT."""

    name: str
    properties: JSON | None

    @classmethod
    def from_event(cls, event: EventRecorded) -> Self:
        return cls(name=event.name, properties=JSON(event.properties))


@strawberry.type(
    description="What is different about a customer, by name. Ask `customer` for the values."
)
class ActivityChanges:
    """The content of a PROFILE_CHANGED."""

    traits: list[str]
    consents: list[str] = strawberry.field(description="Purposes.")
    segments_entered: list[strawberry.ID]
    segments_left: list[strawberry.ID]
    identities: list[str] = strawberry.field(description="Types of those that came or went.")


@strawberry.federation.type(
    description="Two customers turned out to be one.", requires_scopes=[["identities:read"]]
)
class ActivityMerge:
    """The content of a MERGED."""

    id: strawberry.ID = strawberry.field(description="Of the change; it can be undone by this id.")
    from_customer: strawberry.ID = strawberry.field(description="The customer that was absorbed.")
    into_customer: Customer | None = strawberry.field(description="The customer that remains.")
    reason: str

    @classmethod
    def from_event(cls, event: CustomersMerged) -> Self:
        return cls(
            id=strawberry.ID(str(event.change_id)),
            from_customer=strawberry.ID(str(event.from_customer_id)),
            into_customer=Customer(id=strawberry.ID(str(event.customer_id))),
            reason=event.reason,
        )


@strawberry.federation.type(description="What became of a proposition.", requires_scopes=DECISIONS)
class ActivityOutcome:
    """The content of an OUTCOME."""

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
    def from_event(cls, event: OutcomeRecorded) -> Self:
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
    description="Where an instance of a journey is.",
    policy=STAFF,
    requires_scopes=[["journeys:read"]],
)
class ActivityJourney:
    """The instance of a JOURNEY_STEP, JOURNEY_ENDED or MESSAGE."""

    instance: strawberry.ID
    journey: strawberry.ID
    version: int
    key: str = strawberry.field(description='What it is about besides the customer; "" if nothing.')
    step: strawberry.ID
    phase: str | None = strawberry.field(description="Of the customer: purchase, for example.")
    end_reason: str | None

    @classmethod
    def from_state(cls, state: InstanceState, end_reason: str | None = None) -> Self:
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
    """The content of a MESSAGE."""

    id: strawberry.ID
    channel: Channel
    template: str | None = for_staff()
    content: JSON

    @classmethod
    def from_event(cls, event: MessageDue) -> Self:
        return cls(
            id=strawberry.ID(str(event.message_id)),
            channel=Channel(event.channel),
            template=event.template,
            content=JSON(event.content),
        )


CONTENT_FIELDS: Mapping[type, Callable[[Any], dict[str, Any]]] = {
    EventRecorded: lambda content: {"event": ActivityEvent.from_event(content)},
    CustomerDiff: lambda content: {"changes": ActivityChanges(**asdict(content))},
    CustomersMerged: lambda content: {"merge": ActivityMerge.from_event(content)},
    DecisionRecorded: lambda content: {"decision": _decision(content)},
    OutcomeRecorded: lambda content: {
        "decision": _decision(content),
        "outcome": ActivityOutcome.from_event(content),
    },
    StepEntered: lambda content: {"journey": ActivityJourney.from_state(content.state)},
    InstanceEnded: lambda content: {
        "journey": ActivityJourney.from_state(content.state, content.reason)
    },
    MessageDue: lambda content: {
        "journey": ActivityJourney.from_state(content.state),
        "message": ActivityMessage.from_event(content),
    },
}
"""The fields of an activity that its content fills, by the content's class."""


def _decision(event: DecisionRecorded | OutcomeRecorded) -> Decision:
    return Decision(id=strawberry.ID(str(event.decision_id)))


@strawberry.type(
    description="Something that happened with a customer. What its kind does not fill is null."
)
class CustomerActivity:
    id: strawberry.ID
    at: datetime = strawberry.field(description="When it happened, not when it was sent.")
    kind: ActivityKind
    customer: Customer | None = strawberry.field(
        description="The customer it is about; after a merge, the one that remains."
    )
    event: ActivityEvent | None = None
    changes: ActivityChanges | None = None
    merge: ActivityMerge | None = None
    decision: Decision | None = None
    outcome: ActivityOutcome | None = None
    journey: ActivityJourney | None = None
    message: ActivityMessage | None = None

    @classmethod
    def from_activity(cls, activity: Activity) -> Self:
        content = activity.content
        return cls(
            id=strawberry.ID(str(activity.id)),
            at=activity.at,
            kind=activity.kind,
            customer=Customer(id=strawberry.ID(str(activity.customer_id))),
            **(CONTENT_FIELDS[type(content)](content) if content else {}),
        )


@strawberry.type
class Subscription:
    """The only root type that live adds to."""

    @strawberry.subscription(  # type: ignore[untyped-decorator]
        description="What is happening with one customer, live: events, journey steps, decisions, "
        "outcomes. For the agent's screen. The first activity comes at once and says WATCHING.",
        directives=[RequiresScopes(scopes=[["customers:read"]])],
    )
    async def customer_activity(
        self, info: Info, ref: CustomerRef
    ) -> AsyncGenerator[CustomerActivity, None]:
        customer_id = await info.context.find_customer(ref.as_json())
        async with info.context.watch(customer_id) as watch:
            while True:
                yield CustomerActivity.from_activity(await watch.next())


HIDES: Mapping[str, Hide] = {
    "ActivityJourney.key": lambda masking, journey, key: MASK if key else "",
    "ActivityMessage.content": lambda masking, message, content: mask_texts(content),
    "Money": leave_unmasked,
}
"""The gateway does not know which property the key of an instance is, nor which values of a message
were filled in: both are masked whole. Journey shows what may be seen; all else is masked plainly.
"""

schema = Schema(subscription=Subscription, hides=HIDES)
