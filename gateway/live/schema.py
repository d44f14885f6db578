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
from services.chassis.authorization import DECISIONS, STAFF, staff_field
from services.chassis.graphql import Schema
from services.chassis.masking import MASK, USUAL, Hide, Masking, leave_unmasked, mask_texts
from services.chassis.principal import Principal
from services.chassis.schema import Channel, CustomerRef, Money, OutcomeKind
from services.contracts.decision import DecisionRecorded, OutcomeRecorded
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


def to_json(ref: CustomerRef) -> CustomerRefJson:
    if ref.identity:
        return {"identity": {"type": ref.identity.type, "value": ref.identity.value}}
    return {"id": str(ref.id)}


@strawberry.federation.type(keys=[external_key("id")])
class Customer:
    id: strawberry.ID


@strawberry.federation.type(keys=[external_key("id")], requires_scopes=DECISIONS)
class Decision:
    id: strawberry.ID


@strawberry.federation.type(keys=[external_key("key")])
class Action:
    key: strawberry.ID


@strawberry.type
class ActivityEvent:
    """Something a customer did: the content of an EVENT."""

    name: str
    """As conditions call it: `product_viewed`."""
    properties: JSON | None
    """A JSON object with its details."""

    @classmethod
    def from_event(cls, event: EventRecorded) -> Self:
        return cls(name=event.name, properties=JSON(event.properties))


@strawberry.type
class ActivityChanges:
    """What is different about a customer, by name: the content of a PROFILE_CHANGED. Ask `customer`
    for the values.
    """

    traits: list[str]
    """Names of traits that are new, changed or gone."""
    consents: list[str]
    """Purposes whose consent is new, changed or gone."""
    segments_entered: list[strawberry.ID]
    """Keys of segments whose condition became true of them."""
    segments_left: list[strawberry.ID]
    """Keys of segments whose condition is no longer true of them."""
    identities: list[str]
    """Types of those that came or went, such as `email`; never the value."""


@strawberry.federation.type(requires_scopes=[["identities:read"]])
class ActivityMerge:
    """Two customers turned out to be one: the content of a MERGED."""

    id: strawberry.ID
    """Of the change; it can be undone by this id."""
    from_customer: strawberry.ID
    """The id of the customer that was absorbed."""
    into_customer: Customer | None
    """The customer that remains."""
    reason: str
    """Which rule joined them, in a few words."""

    @classmethod
    def from_event(cls, event: CustomersMerged) -> Self:
        return cls(
            id=strawberry.ID(str(event.change_id)),
            from_customer=strawberry.ID(str(event.from_customer_id)),
            into_customer=Customer(id=strawberry.ID(str(event.customer_id))),
            reason=event.reason,
        )


@strawberry.federation.type(requires_scopes=DECISIONS)
class ActivityOutcome:
    """A reaction to a proposition: the content of an OUTCOME."""

    id: strawberry.ID
    """Opaque; the same as that of the `Outcome`."""
    proposition: strawberry.ID
    """The `id` of the proposition they reacted to."""
    kind: OutcomeKind
    """The reaction."""
    action: Action | None
    """What had been proposed; null if the catalogue has it no more."""
    treatment: strawberry.ID | None = staff_field()
    """The key of the treatment it was shown with."""
    channel: Channel
    """Where they reacted."""
    placement: str
    """The key of the spot on the channel."""
    value: Money | None
    """What it was worth; null if the reporter did not say."""
    reason: str | None = staff_field()
    """What an agent noted; null if nothing."""

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


@strawberry.federation.type(policy=STAFF, requires_scopes=[["journeys:read"]])
class ActivityJourney:
    """Where an instance of a journey is: of a JOURNEY_STEP, JOURNEY_ENDED or MESSAGE."""

    instance: strawberry.ID
    """The id of the instance, as in `Customer.journeys`."""
    journey: strawberry.ID
    """The key of the journey."""
    version: int
    """The version of the journey the instance follows."""
    key: str
    """What it is about besides the customer, such as an order's number; "" if nothing."""
    step: strawberry.ID
    """The key of the step it came to, or ended at."""
    phase: str | None
    """Of the customer: purchase, for example. Null if no step has set one."""
    end_reason: str | None
    """Why it ended; null while it goes on."""

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


@strawberry.type
class ActivityMessage:
    """Something a journey has to say to a customer: the content of a MESSAGE."""

    id: strawberry.ID
    """Opaque; the same as that of the `Message` in the inbox."""
    channel: Channel
    """Where it is to be delivered."""
    template: str | None = staff_field()
    """The name of the text or layout that the channel is to use."""
    content: JSON
    """A JSON object for the template; its texts are `•••` for callers that may not read identities.
    """

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


@strawberry.type
class CustomerActivity:
    """Something that happened with a customer. What its kind does not fill is null."""

    id: strawberry.ID
    """Opaque; that of the event behind it, where there is one."""
    at: datetime
    """When it happened, not when it was sent."""
    kind: ActivityKind
    """What happened; it says which field is filled."""
    customer: Customer | None
    """The customer it is about, read anew; after a merge, the one that remains."""
    event: ActivityEvent | None = None
    """What they did, of an EVENT."""
    changes: ActivityChanges | None = None
    """What differs about them, of a PROFILE_CHANGED."""
    merge: ActivityMerge | None = None
    """Which customers became one, of a MERGED."""
    decision: Decision | None = None
    """What was decided, of a DECISION; what they reacted to, of an OUTCOME."""
    outcome: ActivityOutcome | None = None
    """How they reacted, of an OUTCOME."""
    journey: ActivityJourney | None = None
    """Where an instance is, of a JOURNEY_STEP, JOURNEY_ENDED or MESSAGE."""
    message: ActivityMessage | None = None
    """What is to be said to them, of a MESSAGE."""

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
    @strawberry.subscription(directives=[RequiresScopes(scopes=[["customers:read"]])])  # type: ignore[untyped-decorator]
    async def customer_activity(
        self, info: Info, ref: CustomerRef
    ) -> AsyncGenerator[CustomerActivity, None]:
        """What is happening with one customer, live: events, journey steps, decisions, outcomes.
        For the agent's screen. The first activity comes at once and says WATCHING;
        `UNKNOWN_CUSTOMER` says that there is none.

        Args:
            ref: Whom to watch. They are looked up once, at the start.
        """
        customer_id = await info.context.find_customer(to_json(ref))
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
