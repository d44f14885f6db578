"""What has changed in a transaction, written and told."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from services.chassis import outbox
from services.chassis.database import Connection
from services.contracts.base import Event
from services.contracts.journey import InstanceEnded, InstanceState, MessageDue, StepEntered
from services.journey.domain.instance import Effect, Ended, Entered, Instance, Said
from services.journey.service.journey_state import Standing
from services.journey.store import instances, messages, tallies
from services.journey.store.messages import Message
from services.journey.store.tallies import Count, Place

DUE = "DUE"
"""The status of a message nobody has taken on yet."""


async def write(
    connection: Connection, standing: Standing, now: datetime, new_id: Callable[[], UUID]
) -> None:
    """Write down everything that changed, and publish it, in the caller's transaction."""
    if not standing.changed:
        return
    await instances.save(connection, list(standing.changed.values()))
    told = [(new_id(), effect) for effect in standing.effects]
    entered = [effect for _, effect in told if isinstance(effect, Entered)]
    said = [_message(one, effect, now) for one, effect in told if isinstance(effect, Said)]
    if entered:
        await instances.add_steps(connection, entered)
    if said:
        await messages.add(connection, said)
    counts = _counts(standing, entered)
    if counts:
        await tallies.add(connection, counts)
    await outbox.publish(
        connection, [event_of(one, effect, now, standing.number) for one, effect in told]
    )


def _message(id: UUID, said: Said, now: datetime) -> Message:
    instance = said.instance
    return Message(
        customer_id=instance.customer_id,
        message_id=id,
        instance_id=instance.id,
        journey=instance.journey,
        step=instance.step,
        channel=said.channel,
        template=said.template,
        purpose=said.purpose,
        content=said.content,
        status=DUE,
        created_at=now,
    )


def _counts(standing: Standing, entered: Sequence[Entered]) -> dict[Place, Count]:
    """How the counts of steps change."""
    passed = Counter(_place(one.instance) for one in entered)
    present: Counter[Place] = Counter()
    for instance in standing.changed.values():
        before = standing.before.get(instance.id)
        present[_place(instance)] += instance.active
        if before is not None:
            present[_place(before)] -= before.active
    counts = {place: Count(passed[place], present[place]) for place in {*passed, *present}}
    return {place: count for place, count in counts.items() if any(count)}


def _place(instance: Instance) -> Place:
    return (instance.journey, instance.version, instance.step)


def state_of(instance: Instance, number: Callable[[int], int]) -> InstanceState:
    """An instance as other services see it, who compare its number."""
    return InstanceState(
        instance_id=instance.id,
        journey=instance.journey,
        version=instance.version,
        key=instance.key,
        step=instance.step,
        phase=instance.phase,
        sequence=number(instance.sequence),
    )


def event_of(id: UUID, effect: Effect, now: datetime, number: Callable[[int], int]) -> Event:
    """An effect as it is told to other services; a message goes by the id of its event."""
    instance = effect.instance
    state = state_of(instance, number)
    match effect:
        case Entered():
            return StepEntered(
                event_id=id, customer_id=instance.customer_id, occurred_at=now, state=state
            )
        case Ended():
            return InstanceEnded(
                event_id=id,
                customer_id=instance.customer_id,
                occurred_at=now,
                state=state,
                reason=instance.end_reason or "",
            )
        case Said():
            return MessageDue(
                event_id=id,
                customer_id=instance.customer_id,
                occurred_at=now,
                message_id=id,
                state=state,
                channel=effect.channel,
                template=effect.template,
                content=effect.content,
            )
