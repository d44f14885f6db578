"""The types of journey's part of the graph."""

from collections.abc import Mapping
from datetime import datetime
from typing import Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from services.chassis.authorization import STAFF, for_staff, of_customer
from services.chassis.masking import MASK, Hide, Masking, as_written, hidden_texts
from services.chassis.pagination import page_size
from services.contracts.base import Json
from services.contracts.words import Channel
from services.journey.domain import summary
from services.journey.domain.definition import StepKind
from services.journey.domain.instance import Instance
from services.journey.domain.journey import Journey
from services.journey.schema.context import Context
from services.journey.service.journey_cache import Book
from services.journey.service.queries import Uses
from services.journey.store import messages
from services.journey.store.definitions import Published
from services.journey.store.instances import StepTaken
from services.rules.template import Keys, hide_values, keys_of

Info = strawberry.Info[Context, None]

JOURNEYS = [["journeys:read"]]

strawberry.enum(Channel)
strawberry.enum(StepKind, name="JourneyStepKind", description="What a step of a journey does.")


@strawberry.type(description="A step an instance came to.")
class JourneyStepTaken:
    """One line of an instance's history."""

    sequence: int
    step: strawberry.ID
    phase: str | None
    entered_at: datetime
    note: str | None = strawberry.field(description="What was left out at this step, and why.")

    @classmethod
    def of(cls, taken: StepTaken) -> Self:
        """From the store."""
        return cls(
            sequence=taken.sequence,
            step=strawberry.ID(taken.step),
            phase=taken.phase,
            entered_at=taken.entered_at,
            note=taken.note,
        )


@strawberry.federation.type(
    description="A customer's instance of a journey, on the version he entered.",
    policy=STAFF,
    requires_scopes=[["journeys:read"], ["journeys:exit"]],
)
class JourneyInstance:
    """Where one instance stands."""

    instance: strawberry.Private[Instance]
    follows: strawberry.Private[Journey | None]
    """The version it follows, where something is to be hidden by it."""
    id: strawberry.ID
    journey: strawberry.ID
    version: int
    key: str = strawberry.field(description='What it is about beside the customer; "" if nothing.')
    step: strawberry.ID
    phase: str | None = strawberry.field(description="Of the customer: purchase, for example.")
    active: bool
    entered_at: datetime
    since: datetime = strawberry.field(description="When it came to its step.")
    due_at: datetime | None = strawberry.field(description="When time alone moves it on.")
    ended_at: datetime | None
    end_reason: str | None

    @classmethod
    def of(cls, instance: Instance, follows: Journey | None) -> Self:
        """From the store."""
        return cls(
            instance=instance,
            follows=follows,
            id=strawberry.ID(str(instance.id)),
            journey=strawberry.ID(instance.journey),
            version=instance.version,
            key=instance.key,
            step=strawberry.ID(instance.step),
            phase=instance.phase,
            active=instance.active,
            entered_at=instance.entered_at,
            since=instance.since,
            due_at=instance.due_at,
            ended_at=instance.ended_at,
            end_reason=instance.end_reason,
        )

    @of_customer("The steps it came to, in order.", JOURNEYS)
    async def history(self, info: Info) -> list[JourneyStepTaken] | None:
        """Of all the instances of a request in one query."""
        taken = await info.context.steps.load((self.instance.customer_id, self.instance.id))
        return [JourneyStepTaken.of(one) for one in taken]

    @strawberry.field(description="The version of the journey it follows.")
    async def definition(self, info: Info) -> "JourneyDefinition | None":
        """How a journey goes on, which is not its customers' business."""
        book = await info.context.book()
        return await JourneyDefinition.of(book, self.instance.journey, self.instance.version)


@strawberry.type(description="Something a journey has to say to a customer.")
class Message:
    """One message of an inbox."""

    id: strawberry.ID
    instance: strawberry.ID | None = for_staff(scopes=JOURNEYS)
    journey: strawberry.ID | None = for_staff(scopes=JOURNEYS)
    step: strawberry.ID | None = for_staff(scopes=JOURNEYS)
    channel: Channel
    template: str | None = for_staff(scopes=JOURNEYS)
    purpose: str = strawberry.field(description="The consent it was made under.")
    content: JSON
    status: str = strawberry.field(description="DUE until a channel has taken it on.")
    created_at: datetime
    follows: strawberry.Private[Journey | None]
    at: strawberry.Private[str]
    """The step that says it."""

    @classmethod
    def of(cls, message: messages.Message, follows: Journey | None) -> Self:
        """From the store."""
        return cls(
            follows=follows,
            at=message.step,
            id=strawberry.ID(str(message.message_id)),
            instance=strawberry.ID(str(message.instance_id)),
            journey=strawberry.ID(message.journey),
            step=strawberry.ID(message.step),
            channel=Channel(message.channel),
            template=message.template,
            purpose=message.purpose,
            content=JSON(message.content),
            status=message.status,
            created_at=message.created_at,
        )


@strawberry.federation.type(keys=["id"])
class Customer:
    """The profile service owns this entity; here it gains its journeys and its inbox."""

    id: strawberry.ID

    @classmethod
    def resolve_reference(cls, id: strawberry.ID) -> Self:
        """Build the entity from the gateway's key, which arrives as plain JSON."""
        return cls(id=strawberry.ID(str(UUID(id))))

    @of_customer("Journeys under way (active), ended (not active), or both.", JOURNEYS)
    async def journeys(
        self, info: Info, active: bool | None = None
    ) -> list[JourneyInstance] | None:
        """Of all the customers of a request in one query, newest first."""
        customer = UUID(self.id)
        await info.context.require_own(customer)
        found = await info.context.instances.load((customer, active))
        followed = await info.context.followed(customer)
        return [JourneyInstance.of(instance, followed.get(instance.id)) for instance in found]

    @of_customer("The latest messages, newest first.")
    async def inbox(self, info: Info, first: int = 20) -> list[Message] | None:
        """Of all the customers of a request in one query."""
        customer = UUID(self.id)
        await info.context.require_own(customer)
        found = await info.context.inboxes.load((customer, page_size(first)))
        followed = await info.context.followed(customer)
        return [Message.of(message, followed.get(message.instance_id)) for message in found]


def _is_key_hidden(masking: Masking, journey: Journey | None) -> bool:
    """Whether what an instance is about tells who somebody is, or may."""
    if journey is None:
        return True
    key = journey.definition.entry.key
    return key is not None and masking.is_path_personal(keys_of(key))


def _key(masking: Masking, instance: JourneyInstance, key: str) -> str:
    return MASK if key and _is_key_hidden(masking, instance.follows) else masking.value(key)


def _content(masking: Masking, message: Message, content: Json) -> Json:
    """What was filled in with values of a customer, without those that tell who that is."""
    step = message.follows.steps.get(message.at) if message.follows else None
    if step is None or step.send is None:
        return hidden_texts(content)

    def is_hidden(keys: Keys) -> bool:
        if keys == ("key",):
            return _is_key_hidden(masking, message.follows)
        return masking.is_path_personal(keys)

    return hide_values(step.send.content, content, MASK, is_hidden, masking.value)


HIDES: Mapping[str, Hide] = {
    "DataUse": as_written,
    "JourneyDefinition": as_written,
    "JourneyInstance.key": _key,
    "JourneyStep": as_written,
    "JourneyWay": as_written,
    "Message.content": _content,
}
"""How what may tell who somebody is is shown to who may not know; all else plainly."""


@strawberry.type(description="A way from one step to another.")
class JourneyWay:
    """An edge of the graph."""

    to: strawberry.ID
    label: str = strawberry.field(description="When it is taken; empty if always.")


@strawberry.type(description="A step of a journey: a node, its ways on, and how busy it is.")
class JourneyStep:
    """One step."""

    key: strawberry.ID
    name: str
    phase: str | None
    kind: StepKind
    summary: str = strawberry.field(description="What it does, in words.")
    next: list[JourneyWay]
    present: int = strawberry.field(description="Instances that are at this step now.")
    passed: int = strawberry.field(description="Times an instance came to this step.")


@strawberry.federation.type(
    description="A version of a journey as it was published.",
    policy=STAFF,
    requires_scopes=[["journeys:read"], ["journeys:write"]],
)
class JourneyDefinition:
    """A definition, its steps as a graph."""

    row: strawberry.Private[Published]
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
    async def of(cls, book: Book, key: str, version: int | None) -> Self | None:
        """A version, the current one if none is given; None where there is none."""
        current = book.current.get(key)
        row = current if version is None else book.rows.get((key, version))
        if row is None:
            return None
        await book.prepare([(row.key, row.version)])
        journey = book.journey(row.key, row.version)
        definition = journey.definition
        return cls(
            row=row,
            journey=journey,
            key=strawberry.ID(row.key),
            version=row.version,
            name=definition.name,
            description=definition.description,
            current=row == current,
            paused=definition.paused,
            entry=summary.of_trigger(definition.entry),
            exit_when=[summary.of_trigger(trigger) for trigger in definition.exit_when],
            yaml=row.source,
            published_at=row.published_at,
            published_by=row.published_by,
        )

    @strawberry.field(description="The steps, in the order written; the first is where one enters.")
    async def steps(self, info: Info) -> list[JourneyStep]:
        """Counts of all the definitions of a request come in one query."""
        key, version = self.row.key, self.row.version
        counts = await info.context.counts.load((key, version))
        definition = self.journey.definition
        shown = []
        for position, step in enumerate(definition.steps):
            count = counts.get((key, version, step.key))
            shown.append(
                JourneyStep(
                    key=strawberry.ID(step.key),
                    name=step.name or summary.of_step(step),
                    phase=step.phase,
                    kind=step.kind,
                    summary=summary.of_step(step),
                    next=[
                        JourneyWay(to=strawberry.ID(target), label=label)
                        for target, label in definition.ways(position)
                    ],
                    present=count.present if count else 0,
                    passed=count.passed if count else 0,
                )
            )
        return shown


@strawberry.type(description="Something journeys need, and the journeys that need it.")
class DataUse:
    """One line of the data mapping."""

    name: str
    journeys: list[strawberry.ID]

    @classmethod
    def each(cls, uses: Uses) -> list[Self]:
        """All of a kind, by name."""
        return [
            cls(name=name, journeys=[strawberry.ID(key) for key in keys])
            for name, keys in uses.items()
        ]


@strawberry.type(
    description="What the conditions, keys and contents of the current journeys look at."
)
class DataMapping:
    """Read from the definitions as they are compiled, so it cannot be out of date."""

    traits: list[DataUse]
    segments: list[DataUse]
    purposes: list[DataUse] = strawberry.field(description="Consents.")
    events: list[DataUse] = strawberry.field(description="Listened to, or counted.")
    properties: list[DataUse] = strawberry.field(description="Of the events listened to.")
    journeys: list[DataUse] = strawberry.field(description="Other journeys, by their state.")
