"""How an instance goes on: (instance, stimulus, facts, now) to (instance, effects), nothing else.

Whatever ends the journey is looked at first, so `exit_when` wins over every step. Then the step it
waits at may be over, and the instance goes from step to step until it has to wait again, or ends.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from uuid import UUID

from services.contracts.base import Json
from services.journey.domain.definition import Again, Send, Step, StepKind, Trigger, Wait
from services.journey.domain.instance import (
    Changed,
    Due,
    Effect,
    Ended,
    Entered,
    Happened,
    Instance,
    Said,
    Stimulus,
)
from services.journey.domain.journey import Journey
from services.rules import Facts
from services.rules.template import keys_of, shown, value_at

CLOCKS_DIFFER = timedelta(minutes=5)
"""How much older than its entry an event may claim to be and still count for an instance."""

LONGEST_KEY = 200
"""Characters; what is longer is no order number, and keys nothing."""

RESTARTED = "restarted"
MERGED = "merged"


@dataclass(frozen=True, slots=True)
class Advance:
    """An instance after a stimulus, and what became true on the way, in order."""

    instance: Instance
    effects: tuple[Effect, ...] = ()


def entry_key(
    journey: Journey, stimulus: Happened | Changed, facts: Facts, before: Facts | None = None
) -> str | None:
    """The key a stimulus lets a customer in by, "" without keys; None if it does not let him in.

    An event lets him in by itself; without one, he must have come to fit: with the facts of
    `before` the condition did not hold. Nobody enters what would end at once.
    """
    entry = journey.definition.entry
    if (entry.event is None) is not isinstance(stimulus, Changed):
        return None
    seen = _seen(journey, facts, stimulus)
    if not _fires(journey, entry, stimulus, seen):
        return None
    if before is not None and journey.holds(entry.condition, _zoned(journey, before)):
        return None
    if any(_holds_already(journey, trigger, seen) for trigger in journey.definition.exit_when):
        return None
    return _key_of(entry, stimulus)


def may_enter(journey: Journey, last: Instance | None, by: UUID, now: datetime) -> bool:
    """Whether the re-entry rule lets a customer in, given their last instance for that key.

    An event counts once: one that is not newer than the last his run used lets nobody in.
    """
    entry = journey.definition.entry
    if last is None:
        return True
    if entry.again is Again.ONCE or by <= last.moved_by:
        return False
    if entry.again is Again.WHEN_ENDED and last.active:
        return False
    return entry.cooldown is None or now - last.entered_at >= entry.cooldown


def begin(
    journey: Journey,
    id: UUID,
    customer_id: UUID,
    key: str,
    stimulus: Happened | Changed,
    facts: Facts,
    now: datetime,
) -> Advance:
    """Let a customer in, and take him as far as he comes."""
    event = _kept(journey, stimulus) if isinstance(stimulus, Happened) else {}
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
    return _walk(journey, outside, journey.first, facts, now)


def advance(
    journey: Journey, instance: Instance, stimulus: Stimulus, facts: Facts, now: datetime
) -> Advance:
    """What a stimulus does to an instance; one it means nothing to comes back unchanged.

    `journey` is of the instance's own version. The same stimulus applied twice changes nothing.
    """
    if not instance.active or not _is_for(instance, stimulus, now):
        return Advance(instance)
    seen = _seen(journey, facts, stimulus)
    for trigger in journey.definition.exit_when:
        if _is_met(journey, trigger, instance, stimulus, seen):
            return end(_moved(instance, stimulus), trigger.told, now)
    following = _after_waiting(journey, instance, stimulus, seen, now)
    if following is None:
        return Advance(instance)
    return _walk(journey, _moved(instance, stimulus), following, facts, now)


def end(instance: Instance, reason: str, now: datetime) -> Advance:
    """End an instance where it stands."""
    ended = replace(
        instance, sequence=instance.sequence + 1, due_at=None, ended_at=now, end_reason=reason
    )
    return Advance(ended, (Ended(ended),))


def clash(one: Instance, other: Instance) -> tuple[Instance, Instance]:
    """Of two active instances for one key after a merge: the one that stays, and the one that ends.

    The one longer under way stays; of two as old, the one further along.
    """
    stays, ends = sorted(
        (one, other), key=lambda instance: (instance.entered_at, -instance.sequence, instance.id)
    )
    return stays, ends


def states(instances: list[Instance]) -> dict[str, dict[str, Any]]:
    """`journey.<key>.phase` and its like, of active instances; of several keys the latest."""
    return {
        instance.journey: {"phase": instance.phase, "step": instance.step, "key": instance.key}
        for instance in sorted(instances, key=lambda instance: instance.id)
        if instance.active
    }


def _walk(
    journey: Journey, instance: Instance, step_key: str, facts: Facts, now: datetime
) -> Advance:
    """Enter steps one after another until one of them takes time, or is the end."""
    seen = _zoned(journey, replace(facts, event=instance.event))
    effects: list[Effect] = []
    following: str | None = step_key
    while following is not None:
        step = journey.steps[following]
        instance = _entered(journey, instance, step, seen, now)
        message = _message(journey, instance, step.send, seen) if step.send else None
        withheld = step.send is not None and message is None
        effects.append(Entered(instance, _withheld(step.send) if withheld and step.send else None))
        if message:
            effects.append(message)
        if step.kind is StepKind.EXIT:
            last = end(instance, step.exit or "", now)
            return Advance(last.instance, (*effects, *last.effects))
        following = _onwards(journey, step, seen)
    return Advance(instance, tuple(effects))


def _entered(
    journey: Journey, instance: Instance, step: Step, seen: Facts, now: datetime
) -> Instance:
    """The instance at its next step. A step without a phase leaves the phase as it was."""
    return replace(
        instance,
        step=step.key,
        phase=step.phase or instance.phase,
        sequence=instance.sequence + 1,
        since=now,
        due_at=_due_at(journey, step.wait, now) if step.wait else None,
    )


def _onwards(journey: Journey, step: Step, seen: Facts) -> str | None:
    """The step that follows at once; None when the instance has to wait."""
    if step.branch:
        met = (case.next for case in step.branch if journey.holds(case.when, seen))
        return next(met, step.otherwise)
    if step.wait and not _holds_already(journey, step.wait, seen):
        return None
    return journey.following[step.key]


def _holds_already(journey: Journey, trigger: Trigger, seen: Facts) -> bool:
    """Whether a trigger about the customer alone is met as things are."""
    return trigger.given and trigger.event is None and journey.holds(trigger.condition, seen)


def _due_at(journey: Journey, wait: Wait, now: datetime) -> datetime:
    if wait.until is not None:
        zone = wait.time_zone or journey.definition.time_zone
        return _next_time_of_day(wait, zone, now)
    period = wait.period or wait.timeout
    assert period is not None, "checks.flaws lets no wait pass that may last for ever"
    return now + period


def _next_time_of_day(wait: Wait, zone: tzinfo, now: datetime) -> datetime:
    """The first moment after now at which clocks in a zone show the time.

    An hour that summer time skips is taken as the one after it.
    """
    assert wait.until is not None
    today = now.astimezone(zone).date()
    for days in (0, 1, 2):
        moment = datetime.combine(today + timedelta(days=days), wait.until, zone).astimezone(UTC)
        if moment > now:
            return moment
    raise AssertionError("every clock shows every time within two days")


def _after_waiting(
    journey: Journey, instance: Instance, stimulus: Stimulus, seen: Facts, now: datetime
) -> str | None:
    """The step an instance goes on to from the one it waits at; None while it goes on waiting."""
    wait = journey.steps[instance.step].wait
    if wait is None:
        return None
    following = journey.following[instance.step]
    if wait.given and _is_met(journey, wait, instance, stimulus, seen):
        return following
    if isinstance(stimulus, Due) and instance.due_at is not None and now >= instance.due_at:
        return wait.on_timeout or following
    return None


def _is_for(instance: Instance, stimulus: Stimulus, now: datetime) -> bool:
    """Whether a stimulus can concern an instance: neither used before, nor from before it began."""
    if isinstance(stimulus, Happened):
        return stimulus.id > instance.moved_by and stimulus.at >= instance.began_at - CLOCKS_DIFFER
    return True


def _moved(instance: Instance, stimulus: Stimulus) -> Instance:
    return replace(instance, moved_by=stimulus.id) if isinstance(stimulus, Happened) else instance


def _is_met(
    journey: Journey, trigger: Trigger, instance: Instance, stimulus: Stimulus, seen: Facts
) -> bool:
    """Whether a trigger holds for an instance; one with a key only by an event with that key."""
    if not _fires(journey, trigger, stimulus, seen):
        return False
    return trigger.key is None or (
        isinstance(stimulus, Happened) and _key_of(trigger, stimulus) == instance.key
    )


def _fires(journey: Journey, trigger: Trigger, stimulus: Stimulus, seen: Facts) -> bool:
    """Whether a trigger is met: by its event, or by how the customer is now."""
    if trigger.event is None:
        return trigger.given and journey.holds(trigger.condition, seen)
    named = isinstance(stimulus, Happened) and stimulus.name == trigger.event
    return named and journey.holds(trigger.condition, seen)


def _key_of(trigger: Trigger, stimulus: Stimulus) -> str | None:
    """The key an event carries; None when it should and does not."""
    if trigger.key is None:
        return ""
    if not isinstance(stimulus, Happened):
        return None
    value = shown(value_at(keys_of(trigger.key), {"event": stimulus.as_fact()}))
    return value if 0 < len(value) <= LONGEST_KEY else None


def _message(journey: Journey, instance: Instance, send: Send, seen: Facts) -> Said | None:
    """What a step says; None without consent to its purpose."""
    if seen.consent.get(send.purpose) is not True:
        return None
    sources = {"traits": seen.traits, "event": instance.event, "key": instance.key}
    content = journey.contents[instance.step].fill(sources)
    return Said(instance, send.channel, send.template, send.purpose, content)


def _withheld(send: Send) -> str:
    return f"Not sent: no consent to {send.purpose}."


def _kept(journey: Journey, event: Happened) -> dict[str, Json]:
    """The event an instance enters by, with no more of it than the journey uses."""
    needed: Mapping[str, Json] = {
        name: value for name, value in event.properties.items() if name in journey.properties
    }
    return {**event.as_fact(), "properties": needed}


def _seen(journey: Journey, facts: Facts, stimulus: Stimulus) -> Facts:
    """The facts with the event in hand."""
    if isinstance(stimulus, Happened):
        facts = replace(facts, event=stimulus.as_fact(), context=stimulus.context)
    return _zoned(journey, facts)


def _zoned(journey: Journey, facts: Facts) -> Facts:
    """The facts, with hours and weekdays read where the journey is."""
    return replace(facts, zone=journey.definition.time_zone)
