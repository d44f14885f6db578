"""How an instance goes on: (instance, stimulus, facts, now) to (instance, effects), nothing else.

Exit triggers are looked at first, so `exit_when` wins over every step. Then the wait of its step
may be over, and the instance goes from step to step until it has to wait again, or ends.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any
from uuid import UUID

from services.contracts.base import Json
from services.journey.domain.definition import (
    OutboundMessage,
    ReentryRule,
    Step,
    StepKind,
    Trigger,
    Wait,
)
from services.journey.domain.instance import (
    ChangeStimulus,
    Effect,
    EndEffect,
    EntryEffect,
    EventStimulus,
    Instance,
    MessageEffect,
    Stimulus,
    TimerStimulus,
)
from services.journey.domain.journey import Journey
from services.rules import Facts
from services.rules.template import format_value, get_value, parse_path

CLOCKS_DIFFER = timedelta(minutes=5)
"""How much older than its entry an event may claim to be and still count for an instance."""

LONGEST_KEY = 200
"""Characters; what is longer is no order number, and keys nothing."""

RESTARTED = "restarted"
MERGED = "merged"


@dataclass(frozen=True, slots=True)
class Advance:
    """An instance after a stimulus, and the effects of its moves, in order."""

    instance: Instance
    effects: tuple[Effect, ...] = ()


def find_entry_key(
    journey: Journey,
    stimulus: EventStimulus | ChangeStimulus,
    facts: Facts,
    before: Facts | None = None,
) -> str | None:
    """The key a stimulus lets a customer in by, "" without keys; None if it does not let them in.

    An event lets them in by itself. Without one, the condition must have become true: it was not
    with the facts of `before`. Nobody enters what would end at once.
    """
    entry = journey.definition.entry
    if (entry.event is None) is not isinstance(stimulus, ChangeStimulus):
        return None
    current = _add_event(journey, facts, stimulus)
    if not _is_fired(journey, entry, stimulus, current):
        return None
    if before is not None and journey.is_true(entry.condition, _set_zone(journey, before)):
        return None
    if any(_is_satisfied(journey, trigger, current) for trigger in journey.definition.exit_when):
        return None
    return _read_key(entry, stimulus)


def can_enter(journey: Journey, last: Instance | None, by: UUID, now: datetime) -> bool:
    """Whether the re-entry rule lets a customer in, given their last instance for that key.

    An event counts once: one that is not newer than the last one that instance used lets nobody in.
    """
    entry = journey.definition.entry
    if last is None:
        return True
    if entry.again is ReentryRule.ONCE or by <= last.moved_by:
        return False
    if entry.again is ReentryRule.WHEN_ENDED and last.is_active:
        return False
    return entry.cooldown is None or now - last.entered_at >= entry.cooldown


def begin(
    journey: Journey,
    id: UUID,
    customer_id: UUID,
    key: str,
    stimulus: EventStimulus | ChangeStimulus,
    facts: Facts,
    now: datetime,
) -> Advance:
    """Let a customer in, and take the new instance as far as it comes."""
    event = _trim_event(journey, stimulus) if isinstance(stimulus, EventStimulus) else {}
    outside = Instance(
        id=id,
        customer_id=customer_id,
        journey=journey.key,
        version=journey.version,
        key=key,
        step="",
        phase=None,
        sequence=0,
        entered_at=now,
        since=now,
        began_at=stimulus.at,
        moved_by=stimulus.id,
        event=event,
    )
    return _walk(journey, outside, journey.first_step, facts, now)


def advance(
    journey: Journey, instance: Instance, stimulus: Stimulus, facts: Facts, now: datetime
) -> Advance:
    """What a stimulus does to an instance; one it means nothing to comes back unchanged.

    `journey` is of the instance's own version. The same stimulus applied twice changes nothing.
    """
    if not instance.is_active or not _can_concern(instance, stimulus, now):
        return Advance(instance)
    current = _add_event(journey, facts, stimulus)
    for trigger in journey.definition.exit_when:
        if _is_fired_for(journey, trigger, instance, stimulus, current):
            return end(_mark_moved(instance, stimulus), trigger.end_reason, now)
    next_step = _leave_wait(journey, instance, stimulus, current, now)
    if next_step is None:
        return Advance(instance)
    return _walk(journey, _mark_moved(instance, stimulus), next_step, facts, now)


def end(instance: Instance, reason: str, now: datetime) -> Advance:
    """End an instance at its step."""
    ended = replace(
        instance, sequence=instance.sequence + 1, due_at=None, ended_at=now, end_reason=reason
    )
    return Advance(ended, (EndEffect(ended),))


def pick_survivor(one: Instance, other: Instance) -> tuple[Instance, Instance]:
    """Of two active instances for one key after a merge: the one that stays, and the one that ends.

    The one longer under way stays; of two as old, the one further along.
    """
    first, second = sorted((one, other), key=lambda i: (i.entered_at, -i.sequence, i.id))
    return first, second


def journey_facts(instances: list[Instance]) -> dict[str, dict[str, Any]]:
    """`journey.<key>.phase` and its like, of active instances; of several keys the latest."""
    return {
        instance.journey: {"phase": instance.phase, "step": instance.step, "key": instance.key}
        for instance in sorted(instances, key=lambda instance: instance.id)
        if instance.is_active
    }


def _walk(
    journey: Journey, instance: Instance, step_key: str, facts: Facts, now: datetime
) -> Advance:
    """Enter steps one after another until one of them takes time, or is the end."""
    current = _set_zone(journey, replace(facts, event=instance.event))
    effects: list[Effect] = []
    next_step: str | None = step_key
    while next_step is not None:
        step = journey.steps[next_step]
        instance = _enter_step(journey, instance, step, current, now)
        message = _build_message(journey, instance, step.send, current) if step.send else None
        note = None
        if step.send and message is None:
            note = f"Not sent: no consent to {step.send.purpose}."
        effects.append(EntryEffect(instance, note))
        if message:
            effects.append(message)
        if step.kind is StepKind.EXIT:
            last = end(instance, step.exit or "", now)
            return Advance(last.instance, (*effects, *last.effects))
        next_step = _choose_next_step(journey, step, current)
    return Advance(instance, tuple(effects))


def _enter_step(
    journey: Journey, instance: Instance, step: Step, current: Facts, now: datetime
) -> Instance:
    """The instance at its next step. A step without a phase leaves the phase as it was."""
    return replace(
        instance,
        step=step.key,
        phase=step.phase or instance.phase,
        sequence=instance.sequence + 1,
        since=now,
        due_at=_compute_due_at(journey, step.wait, now) if step.wait else None,
    )


def _choose_next_step(journey: Journey, step: Step, current: Facts) -> str | None:
    """The step that follows at once; None when the instance has to wait."""
    if step.branch:
        matches = (case.next for case in step.branch if journey.is_true(case.when, current))
        return next(matches, step.otherwise)
    if step.wait and not _is_satisfied(journey, step.wait, current):
        return None
    return journey.next_steps[step.key]


def _is_satisfied(journey: Journey, trigger: Trigger, current: Facts) -> bool:
    """Whether a trigger without an event is true as things are."""
    return trigger.is_set and trigger.event is None and journey.is_true(trigger.condition, current)


def _compute_due_at(journey: Journey, wait: Wait, now: datetime) -> datetime:
    if wait.until is not None:
        return _next_time_of_day(wait.until, wait.time_zone or journey.definition.time_zone, now)
    period = wait.period or wait.timeout
    assert period is not None, "find_flaws lets no wait pass that may last for ever"
    return now + period


def _next_time_of_day(until: time, zone: tzinfo, now: datetime) -> datetime:
    """The first moment after now at which clocks in a zone show the time.

    An hour that summer time skips is taken as the one after it.
    """
    today = now.astimezone(zone).date()
    for days in (0, 1, 2):
        moment = datetime.combine(today + timedelta(days=days), until, zone).astimezone(UTC)
        if moment > now:
            return moment
    raise AssertionError("every clock shows every time within two days")


def _leave_wait(
    journey: Journey, instance: Instance, stimulus: Stimulus, current: Facts, now: datetime
) -> str | None:
    """The step an instance goes on to from the one it waits at; None while it goes on waiting."""
    wait = journey.steps[instance.step].wait
    if wait is None:
        return None
    next_step = journey.next_steps[instance.step]
    if wait.is_set and _is_fired_for(journey, wait, instance, stimulus, current):
        return next_step
    is_due = instance.due_at is not None and now >= instance.due_at
    return (
        (wait.on_timeout or next_step) if isinstance(stimulus, TimerStimulus) and is_due else None
    )


def _can_concern(instance: Instance, stimulus: Stimulus, now: datetime) -> bool:
    """Whether a stimulus can move an instance: neither used before, nor from before it began."""
    if isinstance(stimulus, EventStimulus):
        return stimulus.id > instance.moved_by and stimulus.at >= instance.began_at - CLOCKS_DIFFER
    return True


def _mark_moved(instance: Instance, stimulus: Stimulus) -> Instance:
    if not isinstance(stimulus, EventStimulus):
        return instance
    return replace(instance, moved_by=stimulus.id)


def _is_fired_for(
    journey: Journey, trigger: Trigger, instance: Instance, stimulus: Stimulus, current: Facts
) -> bool:
    """Whether a trigger fires for an instance; one with a key only by an event with that key."""
    if not _is_fired(journey, trigger, stimulus, current):
        return False
    return trigger.key is None or (
        isinstance(stimulus, EventStimulus) and _read_key(trigger, stimulus) == instance.key
    )


def _is_fired(journey: Journey, trigger: Trigger, stimulus: Stimulus, current: Facts) -> bool:
    """Whether a trigger fires: by its event, or by the facts of the customer."""
    if trigger.event is None:
        return trigger.is_set and journey.is_true(trigger.condition, current)
    named = isinstance(stimulus, EventStimulus) and stimulus.name == trigger.event
    return named and journey.is_true(trigger.condition, current)


def _read_key(trigger: Trigger, stimulus: Stimulus) -> str | None:
    """The key an event carries; None when it lacks one."""
    if trigger.key is None:
        return ""
    if not isinstance(stimulus, EventStimulus):
        return None
    value = format_value(get_value(parse_path(trigger.key), {"event": stimulus.to_fact()}))
    return value if 0 < len(value) <= LONGEST_KEY else None


def _build_message(
    journey: Journey, instance: Instance, message: OutboundMessage, current: Facts
) -> MessageEffect | None:
    """The message a step sends; None without consent to its purpose."""
    if current.consent.get(message.purpose) is not True:
        return None
    sources = {"traits": current.traits, "event": instance.event, "key": instance.key}
    content = journey.contents[instance.step].fill(sources)
    return MessageEffect(instance, message.channel, message.template, message.purpose, content)


def _trim_event(journey: Journey, event: EventStimulus) -> dict[str, Json]:
    """The event an instance enters by, with those of its properties that the journey uses."""
    needed: Mapping[str, Json] = {
        name: value for name, value in event.properties.items() if name in journey.properties
    }
    return {**event.to_fact(), "properties": needed}


def _add_event(journey: Journey, facts: Facts, stimulus: Stimulus) -> Facts:
    """The facts with the event of a stimulus, in the journey's time zone."""
    if isinstance(stimulus, EventStimulus):
        facts = replace(facts, event=stimulus.to_fact(), context=stimulus.context)
    return _set_zone(journey, facts)


def _set_zone(journey: Journey, facts: Facts) -> Facts:
    """The facts, with hours and weekdays in the journey's time zone."""
    return replace(facts, zone=journey.definition.time_zone)
