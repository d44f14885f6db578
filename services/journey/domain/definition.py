"""A journey as marketers write it: who enters, what happens step by step, what ends it."""

from datetime import time, timedelta
from enum import StrEnum
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from services.contracts.base import Json
from services.contracts.words import Channel
from services.rules import written

MOST_STEPS = 200


class Again(StrEnum):
    """Whether a customer who has been in a journey may enter it once more, for the same key."""

    ONCE = "once"
    WHEN_ENDED = "when_ended"
    ALWAYS = "always"
    """An instance under way is ended, and a new one begins."""


class StepKind(StrEnum):
    """What a step does."""

    WAIT = "WAIT"
    BRANCH = "BRANCH"
    SEND = "SEND"
    EXIT = "EXIT"


Key = Annotated[str, StringConstraints(pattern=written.KEY)]
Line = Annotated[
    str, StringConstraints(min_length=1, max_length=written.LONGEST_LINE, strip_whitespace=True)
]
EventName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Period = Annotated[timedelta, BeforeValidator(written.period)]
TimeOfDay = Annotated[time, BeforeValidator(written.time_of_day)]
TimeZone = Annotated[ZoneInfo, BeforeValidator(written.time_zone)]
EventPath = Annotated[
    str, StringConstraints(pattern=r"^event(\.[A-Za-z_][A-Za-z0-9_]{0,63}){1,8}$")
]
"""`event.order_id`: a property of the event."""


class Part(BaseModel):
    """A part of a journey: unchangeable, and strict about its field names."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, populate_by_name=True
    )


class Trigger(Part):
    """Something that can happen: an event that fits, or the customer coming to fit.

    With `event`, `when` is asked of that event and the customer together. Without, the trigger is
    about the customer alone; `segment` is short for a condition on it.
    """

    event: EventName | None = None
    segment: Key | None = None
    when: str | None = None
    key: EventPath | None = None

    @property
    def given(self) -> bool:
        """Whether anything is asked at all."""
        return bool(self.event or self.segment or self.when)

    @property
    def condition(self) -> str | None:
        """What must hold, as one condition; None when the event alone is enough."""
        if self.segment is None:
            return self.when
        within = f'"{self.segment}" in segments'
        return f"{within} and ({self.when})" if self.when else within


class Entry(Trigger):
    """Who enters, and how often."""

    again: Again = Again.WHEN_ENDED
    cooldown: Period | None = None
    """Least time from one entry to the next."""
    enter_late: Period | None = None
    """How old an event may be and still let its customer in; none: as the operator has set."""


class ExitWhen(Trigger):
    """What ends the journey, whichever step it is at."""

    reason: Line | None = None

    @property
    def told(self) -> str:
        """The reason an instance ends with."""
        return self.reason or self.event or self.condition or ""


class Wait(Trigger):
    """Wait for a period, until a time of day, or until something happens or `timeout` is over."""

    period: Period | None = Field(default=None, alias="for")
    until: TimeOfDay | None = None
    time_zone: TimeZone | None = None
    timeout: Period | None = None
    on_timeout: Key | None = None


class Case(Part):
    """One way out of a branch."""

    when: str
    next: Key


class Send(Part):
    """A message for the customer's inbox, if he has consented to its purpose."""

    channel: Channel
    template: Key
    purpose: Key
    content: dict[str, Json] = Field(default_factory=dict)


class Step(Part):
    """One step: exactly one of `wait`, `branch`, `send` and `exit`."""

    key: Key
    name: Line | None = None
    phase: Key | None = None
    wait: Wait | None = None
    branch: tuple[Case, ...] | None = Field(default=None, min_length=1, max_length=20)
    otherwise: Key | None = None
    send: Send | None = None
    exit: Line | None = None
    next: Key | None = None

    @property
    def kinds(self) -> list[StepKind]:
        """The kinds this step claims to be; a sound one claims one."""
        claims = {
            StepKind.WAIT: self.wait,
            StepKind.BRANCH: self.branch,
            StepKind.SEND: self.send,
            StepKind.EXIT: self.exit,
        }
        return [kind for kind, claim in claims.items() if claim is not None]

    @property
    def kind(self) -> StepKind:
        """What the step does."""
        return self.kinds[0]


class Definition(Part):
    """A journey as published."""

    key: Key
    name: Line
    description: str = Field(default="", max_length=2_000)
    time_zone: TimeZone = ZoneInfo("UTC")
    paused: bool = False
    """Nobody enters; those under way go on."""
    entry: Entry
    exit_when: tuple[ExitWhen, ...] = Field(default=(), max_length=20)
    steps: tuple[Step, ...] = Field(min_length=1, max_length=MOST_STEPS)

    def following(self, position: int) -> str | None:
        """Where a step leads when it says nothing else: `next`, or the step written below it."""
        step = self.steps[position]
        if step.next is not None or step.kinds in ([StepKind.EXIT], [StepKind.BRANCH]):
            return step.next
        below = position + 1
        return self.steps[below].key if below < len(self.steps) else None

    def ways(self: Self, position: int) -> list[tuple[str, str]]:
        """Where a step can lead, each with the reason in words."""
        step, following = self.steps[position], self.following(position)
        ways = [(case.next, case.when) for case in step.branch or ()]
        if step.otherwise:
            ways.append((step.otherwise, "otherwise"))
        if following:
            ways.append((following, _reason(step.wait)))
        if step.wait and step.wait.on_timeout:
            ways.append((step.wait.on_timeout, "timeout"))
        return ways


def _reason(wait: Wait | None) -> str:
    """Why a wait is over, when it is not by timeout."""
    return (wait.event or wait.condition or "") if wait else ""
