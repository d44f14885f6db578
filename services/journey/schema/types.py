"""The types of journey's subgraph."""

from collections.abc import Mapping
from datetime import datetime
from typing import Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from services.chassis.authorization import STAFF, for_staff, of_customer
from services.chassis.masking import MASK, Hide, Masking, leave_unmasked, mask_texts
from services.chassis.pagination import page_size
from services.chassis.resolvers import copy_fields
from services.contracts.base import Json
from services.contracts.enums import Channel
from services.journey.domain import summary
from services.journey.domain.definition import StepKind
from services.journey.domain.instance import Instance
from services.journey.domain.journey import Journey
from services.journey.schema.context import Context
from services.journey.service.journey_cache import JourneySet
from services.journey.service.queries import DataUses
from services.journey.store import messages
from services.journey.store.definitions import PublishedJourney
from services.journey.store.tallies import StepCount
from services.rules.template import Keys, hide_values, parse_path

Info = strawberry.Info[Context, None]

JOURNEYS = [["journeys:read"]]

strawberry.enum(Channel)
strawberry.enum(StepKind, name="JourneyStepKind", description="What a step of a journey does.")


@strawberry.type(description="A step an instance came to.")
class JourneyStepTaken:
    sequence: int
    step: strawberry.ID
    phase: str | None
    entered_at: datetime
    note: str | None = strawberry.field(description="What was left out at this step, and why.")


@strawberry.federation.type(
    description="A customer's instance of a journey, on the version they entered.",
    policy=STAFF,
    requires_scopes=[["journeys:read"], ["journeys:exit"]],
)
class JourneyInstance:
    instance: strawberry.Private[Instance]
    masking_journey: strawberry.Private[Journey | None]
    """The version it follows, where the caller gets masked values."""
    id: strawberry.ID
    journey: strawberry.ID
    version: int
    key: str = strawberry.field(description='What it is about beside the customer; "" if nothing.')
    step: strawberry.ID
    phase: str | None = strawberry.field(description="Of the customer: purchase, for example.")
    active: bool
    entered_at: datetime
    since: datetime = strawberry.field(description="When it came to its step.")
    due_at: datetime | None = strawberry.field(description="When its timer moves it on.")
    ended_at: datetime | None
    end_reason: str | None

    @classmethod
    def from_domain(cls, instance: Instance, masking_journey: Journey | None) -> Self:
        return copy_fields(
            cls,
            instance,
            instance=instance,
            masking_journey=masking_journey,
            id=strawberry.ID(str(instance.id)),
            active=instance.is_active,
        )

    @of_customer("The steps it came to, in order.", JOURNEYS)
    async def history(self, info: Info) -> list[JourneyStepTaken] | None:
        records = await info.context.steps.load((self.instance.customer_id, self.instance.id))
        return [JourneyStepTaken(**record._asdict()) for record in records]

    @strawberry.field(description="The version of the journey it follows.")
    async def definition(self, info: Info) -> "JourneyDefinition | None":
        """For staff only: how a journey goes on is not its customers' business."""
        journeys = await info.context.load_journeys()
        return await JourneyDefinition.load(journeys, self.instance.journey, self.instance.version)


@strawberry.type(description="A message of a journey to a customer.")
class Message:
    id: strawberry.ID
    instance: strawberry.ID | None = for_staff(scopes=JOURNEYS)
    journey: strawberry.ID | None = for_staff(scopes=JOURNEYS)
    step: strawberry.ID | None = for_staff(scopes=JOURNEYS)
    channel: Channel
    template: str | None = for_staff(scopes=JOURNEYS)
    purpose: str = strawberry.field(description="The purpose of consent it is sent under.")
    content: JSON
    status: str = strawberry.field(description="DUE until a channel has fetched it.")
    created_at: datetime
    masking_journey: strawberry.Private[Journey | None]
    step_key: strawberry.Private[str]
    """The step that sends it."""

    @classmethod
    def from_domain(cls, message: messages.InboxMessage, masking_journey: Journey | None) -> Self:
        return copy_fields(
            cls,
            message,
            masking_journey=masking_journey,
            step_key=message.step,
            id=strawberry.ID(str(message.message_id)),
            instance=strawberry.ID(str(message.instance_id)),
            channel=Channel(message.channel),
        )


@strawberry.federation.type(keys=["id"])
class Customer:
    id: strawberry.ID

    @classmethod
    def resolve_reference(cls, id: strawberry.ID) -> Self:
        return cls(id=strawberry.ID(str(UUID(id))))

    @of_customer("Their active instances, the ended ones (active: false), or both.", JOURNEYS)
    async def journeys(
        self, info: Info, active: bool | None = None
    ) -> list[JourneyInstance] | None:
        customer = UUID(self.id)
        await info.context.require_own(customer)
        found = await info.context.instances.load((customer, active))
        masking_journeys = await info.context.load_masking_journeys(customer)
        return [JourneyInstance.from_domain(one, masking_journeys.get(one.id)) for one in found]

    @of_customer("The latest messages, newest first.")
    async def inbox(self, info: Info, first: int = 20) -> list[Message] | None:
        customer = UUID(self.id)
        await info.context.require_own(customer)
        found = await info.context.inboxes.load((customer, page_size(first)))
        masking_journeys = await info.context.load_masking_journeys(customer)
        return [Message.from_domain(one, masking_journeys.get(one.instance_id)) for one in found]


def _is_key_hidden(masking: Masking, journey: Journey | None) -> bool:
    """Whether the key of a journey's instances may tell who the customer is."""
    if journey is None:
        return True
    key = journey.definition.entry.key
    return key is not None and masking.is_path_personal(parse_path(key))


def _mask_key(masking: Masking, instance: JourneyInstance, key: str) -> str:
    return MASK if key and _is_key_hidden(masking, instance.masking_journey) else masking.mask(key)


def _mask_content(masking: Masking, message: Message, content: Json) -> Json:
    """A message's content without the values that tell who the customer is."""
    step = message.masking_journey.steps.get(message.step_key) if message.masking_journey else None
    if step is None or step.send is None:
        return mask_texts(content)

    def is_hidden(keys: Keys) -> bool:
        if keys == ("key",):
            return _is_key_hidden(masking, message.masking_journey)
        return masking.is_path_personal(keys)

    return hide_values(step.send.content, content, MASK, is_hidden, masking.mask)


HIDES: Mapping[str, Hide] = {
    "DataUse": leave_unmasked,
    "JourneyDefinition": leave_unmasked,
    "JourneyInstance.key": _mask_key,
    "JourneyStep": leave_unmasked,
    "JourneyTransition": leave_unmasked,
    "Message.content": _mask_content,
}
"""How these fields are masked; all others as `services.chassis.masking` does by default."""


@strawberry.type(description="The way from one step to another.")
class JourneyTransition:
    to: strawberry.ID
    label: str = strawberry.field(description="When it is taken; empty if always.")


@strawberry.type(description="A step of a journey, its transitions, and how busy it is.")
class JourneyStep:
    key: strawberry.ID
    name: str
    phase: str | None
    kind: StepKind
    summary: str = strawberry.field(description="What it does, in words.")
    next: list[JourneyTransition]
    present: int = strawberry.field(description="Instances that are at this step now.")
    passed: int = strawberry.field(description="Times an instance came to this step.")


@strawberry.federation.type(
    description="A version of a journey as it was published.",
    policy=STAFF,
    requires_scopes=[["journeys:read"], ["journeys:write"]],
)
class JourneyDefinition:
    row: strawberry.Private[PublishedJourney]
    journey: strawberry.Private[Journey]
    key: strawberry.ID
    version: int
    name: str
    description: str
    current: bool = strawberry.field(description="Whether customers enter this version.")
    paused: bool = strawberry.field(description="Whether nobody enters for now.")
    entry: str = strawberry.field(description="Who enters, in words.")
    exit_when: list[str] = strawberry.field(description="What ends it at any step, in words.")
    yaml: str
    published_at: datetime
    published_by: str

    @classmethod
    async def load(cls, journeys: JourneySet, key: str, version: int | None) -> Self | None:
        """A version, without one the current; None where there is none."""
        current = journeys.current.get(key)
        row = current if version is None else journeys.rows.get((key, version))
        if row is None:
            return None
        await journeys.compile([(row.key, row.version)])
        journey = journeys.get(row.key, row.version)
        definition = journey.definition
        return copy_fields(
            cls,
            row,
            row=row,
            journey=journey,
            name=definition.name,
            description=definition.description,
            current=row == current,
            paused=definition.paused,
            entry=summary.describe_trigger(definition.entry),
            exit_when=[summary.describe_trigger(trigger) for trigger in definition.exit_when],
            yaml=row.source,
        )

    @strawberry.field(description="The steps, in the order written; the first is where one enters.")
    async def steps(self, info: Info) -> list[JourneyStep]:
        counts = await info.context.counts.load((self.row.key, self.row.version))
        definition = self.journey.definition
        steps = []
        for position, step in enumerate(definition.steps):
            count = counts.get(step.key, StepCount(0, 0))
            steps.append(
                JourneyStep(
                    key=strawberry.ID(step.key),
                    name=step.name or summary.describe_step(step),
                    phase=step.phase,
                    kind=step.kind,
                    summary=summary.describe_step(step),
                    next=[
                        JourneyTransition(to=strawberry.ID(target), label=label)
                        for target, label in definition.transitions(position)
                    ],
                    present=count.present,
                    passed=count.passed,
                )
            )
        return steps


@strawberry.type(description="Something journeys need, and the journeys that need it.")
class DataUse:
    name: str
    journeys: list[strawberry.ID]

    @classmethod
    def from_uses(cls, uses: DataUses) -> list[Self]:
        return [
            cls(name=name, journeys=[strawberry.ID(key) for key in keys])
            for name, keys in uses.items()
        ]


@strawberry.type(description="What the conditions, keys and contents of the current journeys read.")
class DataMapping:
    traits: list[DataUse]
    segments: list[DataUse]
    purposes: list[DataUse] = strawberry.field(description="Consents.")
    events: list[DataUse] = strawberry.field(description="Those that trigger, or are counted.")
    properties: list[DataUse] = strawberry.field(description="Of the events that trigger.")
    journeys: list[DataUse] = strawberry.field(description="Other journeys, whose state is read.")
