"""Writing down and publishing what has changed in a transaction."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import prometheus_client as prometheus

from services.chassis import outbox
from services.chassis.database import Connection
from services.contracts.base import Event
from services.contracts.journey import InstanceEnded, InstanceState, MessageDue, StepEntered
from services.journey.domain.instance import Effect, EndEffect, EntryEffect, Instance, MessageEffect
from services.journey.service.journey_state import JourneyState
from services.journey.store import instances, messages, tallies
from services.journey.store.messages import InboxMessage
from services.journey.store.tallies import StepCount, StepKey

MESSAGES_DUE = prometheus.Counter(
    "raak_messages_due", "Messages of journeys that came due, by channel", ["channel"]
)
DUE = "DUE"
"""The status of a message no channel has fetched yet."""


async def save_changes(
    connection: Connection, state: JourneyState, now: datetime, new_id: Callable[[], UUID]
) -> None:
    """Write everything that changed, and publish its effects, in the caller's transaction."""
    if not state.changed:
        return
    await instances.save(connection, list(state.changed.values()))
    effects = [(new_id(), effect) for effect in state.effects]
    entries = [effect for _, effect in effects if isinstance(effect, EntryEffect)]
    inbox = [
        _build_message(event_id, effect, now)
        for event_id, effect in effects
        if isinstance(effect, MessageEffect)
    ]
    await instances.add_steps(connection, entries)
    await messages.add(connection, inbox)
    await tallies.add(connection, _count_steps(state, entries))
    await outbox.publish(
        connection,
        [build_event(event_id, effect, now, state.stamp) for event_id, effect in effects],
    )
    for message in inbox:
        MESSAGES_DUE.labels(message.channel).inc()


def _build_message(id: UUID, effect: MessageEffect, now: datetime) -> InboxMessage:
    instance = effect.instance
    return InboxMessage(
        customer_id=instance.customer_id,
        message_id=id,
        instance_id=instance.id,
        journey=instance.journey,
        step=instance.step,
        channel=effect.channel,
        template=effect.template,
        purpose=effect.purpose,
        content=effect.content,
        status=DUE,
        created_at=now,
    )


def _count_steps(state: JourneyState, entries: Sequence[EntryEffect]) -> dict[StepKey, StepCount]:
    passed = Counter(_step_key(one.instance) for one in entries)
    present: Counter[StepKey] = Counter()
    for instance in state.changed.values():
        before = state.before.get(instance.id)
        present[_step_key(instance)] += instance.is_active
        if before is not None:
            present[_step_key(before)] -= before.is_active
    counts = {step: StepCount(passed[step], present[step]) for step in {*passed, *present}}
    return {step: count for step, count in counts.items() if any(count)}


def _step_key(instance: Instance) -> StepKey:
    return (instance.journey, instance.version, instance.step)


def build_state(instance: Instance, stamp: Callable[[int], int]) -> InstanceState:
    """An instance as published; other services compare sequences to know the latest."""
    return InstanceState(
        instance_id=instance.id,
        journey=instance.journey,
        version=instance.version,
        key=instance.key,
        step=instance.step,
        phase=instance.phase,
        sequence=stamp(instance.sequence),
    )


def build_event(id: UUID, effect: Effect, now: datetime, stamp: Callable[[int], int]) -> Event:
    """The event that publishes an effect; a message's id is that of its event."""
    instance = effect.instance
    common: dict[str, Any] = {
        "event_id": id,
        "customer_id": instance.customer_id,
        "occurred_at": now,
        "state": build_state(instance, stamp),
    }
    match effect:
        case EntryEffect():
            return StepEntered(**common)
        case EndEffect():
            return InstanceEnded(**common, reason=instance.end_reason or "")
        case MessageEffect(_, channel, template, _, content):
            return MessageDue(
                **common, message_id=id, channel=channel, template=template, content=content
            )
