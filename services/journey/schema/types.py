"""The types of journey's subgraph."""

from collections.abc import Mapping
from datetime import datetime
from typing import Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from services.chassis.authorization import STAFF, customer_field, staff_field
from services.chassis.masking import MASK, Hide, Masking, leave_unmasked, mask_texts
from services.chassis.pagination import First, page_size
from services.chassis.resolvers import copy_fields
from services.chassis.schema import Channel
from services.contracts.base import Json
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

strawberry.enum(StepKind, name="JourneyStepKind")


@strawberry.type
class JourneyStepTaken:
    """A step an instance came to."""

    sequence: int
    """Counts the instance's moves upwards; what it came to first has the lowest."""
    step: strawberry.ID
    """The step's key in the version of the journey the instance follows."""
    phase: str | None
    """The customer's phase from then on; null if no step has set one."""
    entered_at: datetime
    """When it came there."""
    note: str | None
    """What was left out at this step, and why; null if nothing was."""


@strawberry.federation.type(policy=STAFF, requires_scopes=[["journeys:read"], ["journeys:exit"]])
class JourneyInstance:
    """A customer's instance of a journey, on the version they entered."""

    instance: strawberry.Private[Instance]
    masking_journey: strawberry.Private[Journey | None]
    """The version it follows, where the caller gets masked values."""
    id: strawberry.ID
    """Opaque; `exitJourney` ends the instance by it."""
    journey: strawberry.ID
    """The key of the journey."""
    version: int
    """The version it follows to its end, whatever is published meanwhile."""
    key: str
    """What it is about beside the customer, such as an order's number; "" if nothing."""
    step: strawberry.ID
    """The key of the step it is at, or was at when it ended."""
    phase: str | None
    """Of the customer: purchase, for example. Null if no step has set one."""
    active: bool
    """Whether it goes on; false once it has ended."""
    entered_at: datetime
    """When the customer entered the journey."""
    since: datetime
    """When it came to its step."""
    due_at: datetime | None
    """When its timer moves it on; null if none runs."""
    ended_at: datetime | None
    """When it came to its end; null while it is active."""
    end_reason: str | None
    """Why it ended, in the words of the definition or of whoever ended it; null while it is active.
    """

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

    @customer_field(JOURNEYS)
    async def history(self, info: Info) -> list[JourneyStepTaken] | None:
        """The steps it came to, in order."""
        records = await info.context.steps.load((self.instance.customer_id, self.instance.id))
        return [JourneyStepTaken(**record._asdict()) for record in records]

    @strawberry.field
    async def definition(self, info: Info) -> "JourneyDefinition | None":
        """The version of the journey it follows. For staff only: how a journey goes on is not its
        customers' business.
        """
        journeys = await info.context.load_journeys()
        return await JourneyDefinition.load(journeys, self.instance.journey, self.instance.version)


@strawberry.type
class Message:
    """What a journey has to say to a customer, for a channel to deliver."""

    id: strawberry.ID
    """Opaque; deliver each id once."""
    instance: strawberry.ID | None = staff_field(JOURNEYS)
    """The id of the journey's instance that sent it."""
    journey: strawberry.ID | None = staff_field(JOURNEYS)
    """The key of the journey that sent it."""
    step: strawberry.ID | None = staff_field(JOURNEYS)
    """The key of the step that sent it."""
    channel: Channel
    """Where it is to be delivered."""
    template: str | None = staff_field(JOURNEYS)
    """The name of the text or layout that the channel is to use."""
    purpose: str
    """The purpose of consent it is sent under; they consented when it was sent."""
    content: JSON
    """A JSON object for the template, with the customer's values filled in."""
    status: str
    """DUE until a channel has fetched it."""
    created_at: datetime
    """When the journey sent it."""
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

    @customer_field(JOURNEYS)
    async def journeys(
        self, info: Info, active: bool | None = None
    ) -> list[JourneyInstance] | None:
        """Their journeys as instances: the active ones, the ended ones, or both; the latest entered
        first, at most 200.

        Args:
            active: true asks for those that go on, false for those that have ended, null for both.
        """
        customer = UUID(self.id)
        await info.context.require_own(customer)
        found = await info.context.instances.load((customer, active))
        masking_journeys = await info.context.load_masking_journeys(customer)
        return [JourneyInstance.from_domain(one, masking_journeys.get(one.id)) for one in found]

    @customer_field()
    async def inbox(self, info: Info, first: First = 20) -> list[Message] | None:
        """What journeys had to say to them, newest first."""
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


@strawberry.type
class JourneyTransition:
    """The way from one step to another."""

    to: strawberry.ID
    """The key of the step it leads to."""
    label: str
    """When it is taken, in words or as a condition; empty if always."""


@strawberry.type
class JourneyStep:
    """A step of a journey, its transitions, and how busy it is."""

    key: strawberry.ID
    """Its name in the definition, unique within the journey."""
    name: str
    """For people; a description of what it does if its author gave none."""
    phase: str | None
    """Where the customer is in their dealings with the company from this step on; null leaves it as
    it was.
    """
    kind: StepKind
    """Which of the four things a step can do."""
    summary: str
    """What it does, in words."""
    next: list[JourneyTransition]
    """Where instances go from here, in the order the conditions are tried; empty for an exit."""
    present: int
    """Instances that are at this step now."""
    passed: int
    """Times an instance came to this step; one that came twice counts twice."""


@strawberry.federation.type(policy=STAFF, requires_scopes=[["journeys:read"], ["journeys:write"]])
class JourneyDefinition:
    """A version of a journey as it was published. It never changes."""

    row: strawberry.Private[PublishedJourney]
    journey: strawberry.Private[Journey]
    key: strawberry.ID
    """The journey's lasting name; publishing it again makes its next version."""
    version: int
    """1 at first, then one more each time."""
    name: str
    """For people, one line."""
    description: str
    """For people: what it is for. Empty if its author wrote nothing."""
    current: bool
    """Whether customers enter this version."""
    paused: bool
    """Whether nobody enters for now; active instances go on."""
    entry: str
    """Who enters, in words."""
    exit_when: list[str]
    """What ends it at any step, in words; empty if only its steps do."""
    yaml: str
    """The whole document, as its author wrote it."""
    published_at: datetime
    """When this version was published."""
    published_by: str
    """The subject of the token or key that published it."""

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

    @strawberry.field
    async def steps(self, info: Info) -> list[JourneyStep]:
        """The steps, in the order written; the first is where one enters."""
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


@strawberry.type
class DataUse:
    """Something journeys need, and the journeys that need it."""

    name: str
    """The trait, segment, event or whatever the list is of, as conditions write it."""
    journeys: list[strawberry.ID]
    """Keys of the journeys that read it."""

    @classmethod
    def from_uses(cls, uses: DataUses) -> list[Self]:
        return [
            cls(name=name, journeys=[strawberry.ID(key) for key in keys])
            for name, keys in uses.items()
        ]


@strawberry.type
class DataMapping:
    """What the conditions, keys and contents of the current journeys read."""

    traits: list[DataUse]
    """Traits that conditions or contents read."""
    segments: list[DataUse]
    """Segments that let customers in, end an instance, or stand in a condition; by key."""
    purposes: list[DataUse]
    """Purposes of consent that messages are sent under or conditions ask for."""
    events: list[DataUse]
    """Events that trigger, or are counted."""
    properties: list[DataUse]
    """Properties of the events that trigger."""
    journeys: list[DataUse]
    """Other journeys, whose state is read."""
