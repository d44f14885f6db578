"""An instance of a journey: one customer's way through it, what moves it, what a move does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from services.contracts.base import Json


@dataclass(frozen=True, slots=True)
class Instance:
    """Where an instance is. `sequence` grows by one with every step, and with its end."""

    id: UUID
    customer_id: UUID
    journey: str
    version: int
    key: str
    step: str
    phase: str | None
    sequence: int
    entered_at: datetime
    since: datetime
    """When it came to its step."""
    began_at: datetime
    """When the stimulus happened that it entered by, by the sender's clock."""
    moved_by: UUID
    """The last event it used, first the one it entered by. Ids grow with time: an event whose id is
    not above it is older, or the same delivered again."""
    event: Mapping[str, Json] = field(default_factory=dict)
    """`name`, `at` and used `properties` of the event it entered by; empty without one."""
    due_at: datetime | None = None
    """When its timer moves it on."""
    ended_at: datetime | None = None
    end_reason: str | None = None

    @property
    def is_active(self) -> bool:
        return self.ended_at is None


@dataclass(frozen=True, slots=True)
class EventStimulus:
    """A customer did something."""

    id: UUID
    name: str
    at: datetime
    properties: Mapping[str, Json]
    context: Mapping[str, Json] = field(default_factory=dict)

    def to_fact(self) -> dict[str, Json]:
        """The event as conditions read it (`event` of `Facts`)."""
        return {"name": self.name, "at": self.at.isoformat(), "properties": self.properties}


@dataclass(frozen=True, slots=True)
class ChangeStimulus:
    """A newer snapshot of a customer came."""

    id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class TimerStimulus:
    """An instance's timer is due."""


Stimulus = EventStimulus | ChangeStimulus | TimerStimulus


@dataclass(frozen=True, slots=True)
class EntryEffect:
    """An instance came to a step. `note` says what was left out there, and why."""

    instance: Instance
    note: str | None = None


@dataclass(frozen=True, slots=True)
class MessageEffect:
    """An instance sent a message."""

    instance: Instance
    channel: str
    template: str
    purpose: str
    content: dict[str, Json]


@dataclass(frozen=True, slots=True)
class EndEffect:
    """An instance came to its end."""

    instance: Instance


Effect = EntryEffect | MessageEffect | EndEffect
