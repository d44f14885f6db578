"""An instance of a journey: one customer's way through it, what moves it, what a move does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from services.contracts.base import Json


@dataclass(frozen=True, slots=True)
class Instance:
    """Where an instance stands. `sequence` grows by one with every step, and with its end."""

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
    """When it came to this step."""
    began_at: datetime
    """When that happened by which it entered, by the sender's clock."""
    moved_by: UUID
    """The last event it used, first the one it entered by. Ids grow with time: one that is not
    above it is older, or the same told again."""
    event: Mapping[str, Json] = field(default_factory=dict)
    """`name`, `at` and needed `properties` of the event it entered by; empty if by none."""
    due_at: datetime | None = None
    """When time alone moves it on."""
    ended_at: datetime | None = None
    end_reason: str | None = None

    @property
    def active(self) -> bool:
        """Whether it is still under way."""
        return self.ended_at is None


@dataclass(frozen=True, slots=True)
class Happened:
    """A customer did something."""

    id: UUID
    name: str
    at: datetime
    properties: Mapping[str, Json]
    context: Mapping[str, Json] = field(default_factory=dict)

    def as_fact(self) -> dict[str, Json]:
        """The event as conditions see it."""
        return {"name": self.name, "at": self.at.isoformat(), "properties": self.properties}


@dataclass(frozen=True, slots=True)
class Changed:
    """More, or something else, is known of a customer."""

    id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """Time has passed."""


Stimulus = Happened | Changed | Due


@dataclass(frozen=True, slots=True)
class Entered:
    """An instance came to a step. `note` says what was left out there, and why."""

    instance: Instance
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """An instance had something to say."""

    instance: Instance
    channel: str
    template: str
    purpose: str
    content: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Ended:
    """An instance came to its end."""

    instance: Instance


Effect = Entered | Said | Ended
