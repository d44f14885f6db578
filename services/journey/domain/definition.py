"""A journey as marketers write it: who enters, what happens step by step, what ends it."""

from enum import StrEnum
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import Field, StringConstraints

from services.contracts.base import Json
from services.contracts.enums import Channel
from services.rules.definition_fields import (
    DefinitionPart,
    Key,
    Line,
    Period,
    TimeOfDay,
    TimeZone,
)

MOST_STEPS = 200


class ReentryRule(StrEnum):
    """Whether a customer who has been in a journey may enter it once more, for the same key."""

    ONCE = "once"
    WHEN_ENDED = "when_ended"
    ALWAYS = "always"
    """An active instance is ended, and a new one begins."""


class StepKind(StrEnum):
    """What a step of a journey does."""

    WAIT = "WAIT"
    """Waits for a period, a time of day or an event."""
    BRANCH = "BRANCH"
    """Chooses the next step by conditions, without taking time."""
    SEND = "SEND"
    """Sends a message, if the customer consents to its purpose."""
    EXIT = "EXIT"
    """Ends the journey."""


EventName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
EventPath = Annotated[
    str, StringConstraints(pattern=r"^event(\.[A-Za-z_][A-Za-z0-9_]{0,63}){1,8}$")
]
"""`event.order_id`: a property of the event."""


class Trigger(DefinitionPart):
    """An event with a condition, or a condition on the customer that becomes true.

    With `event`, `when` is about that event and the customer. Without, it is about the customer
    only; `segment` is short for a condition on their segments.
    """

    event: EventName | None = None
    segment: Key | None = None
    when: str | None = None
    key: EventPath | None = None

    @property
    def is_set(self) -> bool:
        return bool(self.event or self.segment or self.when)

    @property
    def condition(self) -> str | None:
        """`segment` and `when` as one condition; None when the event is enough."""
        if self.segment is None:
            return self.when
        within = f'"{self.segment}" in segments'
        return f"{within} and ({self.when})" if self.when else within


class EntryTrigger(Trigger):
    """Who enters, and how often."""

    again: ReentryRule = ReentryRule.WHEN_ENDED
    cooldown: Period | None = None
    """Least time from one entry to the next."""
    enter_late: Period | None = None
    """How old an event may be and still let its customer in; None: as the operator has set."""


class ExitTrigger(Trigger):
    """What ends an instance, whichever step it is at."""

    reason: Line | None = None

    @property
    def end_reason(self) -> str:
        """The reason an instance ends with; where none is written, the trigger itself."""
        return self.reason or self.event or self.condition or ""


class Wait(Trigger):
    """Wait for a period, until a time of day, or for a trigger, at most until `timeout` is over."""

    period: Period | None = Field(default=None, alias="for")
    until: TimeOfDay | None = None
    time_zone: TimeZone | None = None
    timeout: Period | None = None
    on_timeout: Key | None = None


class BranchCase(DefinitionPart):
    """A condition and the step it leads to."""

    when: str
    next: Key


class OutboundMessage(DefinitionPart):
    """A message for the customer's inbox, if they have consented to its purpose."""

    channel: Channel
    template: Key
    purpose: Key
    content: dict[str, Json] = Field(default_factory=dict)


class Step(DefinitionPart):
    """A step with exactly one of `wait`, `branch`, `send` and `exit`."""

    key: Key
    name: Line | None = None
    phase: Key | None = None
    wait: Wait | None = None
    branch: tuple[BranchCase, ...] | None = Field(default=None, min_length=1, max_length=20)
    otherwise: Key | None = None
    send: OutboundMessage | None = None
    exit: Line | None = None
    next: Key | None = None

    @property
    def kinds(self) -> list[StepKind]:
        """The kinds this step claims to be; a valid one claims one."""
        claims = {
            StepKind.WAIT: self.wait,
            StepKind.BRANCH: self.branch,
            StepKind.SEND: self.send,
            StepKind.EXIT: self.exit,
        }
        return [kind for kind, claim in claims.items() if claim is not None]

    @property
    def kind(self) -> StepKind:
        return self.kinds[0]


class JourneyDefinition(DefinitionPart):
    """A journey as a marketer publishes it."""

    key: Key
    name: Line
    description: str = Field(default="", max_length=2_000)
    time_zone: TimeZone = ZoneInfo("UTC")
    paused: bool = False
    """Nobody enters; active instances go on."""
    entry: EntryTrigger
    exit_when: tuple[ExitTrigger, ...] = Field(default=(), max_length=20)
    steps: tuple[Step, ...] = Field(min_length=1, max_length=MOST_STEPS)

    def next_step(self, position: int) -> str | None:
        """Where a step leads by default: `next`, or the step written below it."""
        step = self.steps[position]
        if step.next is not None or step.kinds in ([StepKind.EXIT], [StepKind.BRANCH]):
            return step.next
        below = position + 1
        return self.steps[below].key if below < len(self.steps) else None

    def transitions(self: Self, position: int) -> list[tuple[str, str]]:
        """The steps a step can lead to, each with its condition in words."""
        step, next_step = self.steps[position], self.next_step(position)
        transitions = [(case.next, case.when) for case in step.branch or ()]
        if step.otherwise:
            transitions.append((step.otherwise, "otherwise"))
        if next_step:
            transitions.append((next_step, _transition_label(step.wait)))
        if step.wait and step.wait.on_timeout:
            transitions.append((step.wait.on_timeout, "timeout"))
        return transitions


def _transition_label(wait: Wait | None) -> str:
    """What ends a wait, other than its timeout."""
    return (wait.event or wait.condition or "") if wait else ""
