"""The events journey publishes."""

from typing import ClassVar
from uuid import UUID

from services.contracts.base import Event, Json, Payload
from services.contracts.series import SeriesNeeded


class InstanceState(Payload):
    """Where an instance of a journey is."""

    instance_id: UUID
    journey: str
    version: int
    """Of the journey's definition."""
    key: str
    """What the instance is about besides the customer: "" or for example an order number."""
    step: str
    phase: str | None
    sequence: int
    """Grows with every step of the instance; a state with a lower one is older."""


class StepEntered(Event):
    """An instance went on to another step."""

    fact: ClassVar[str] = "journey.step_entered.v1"

    state: InstanceState


class InstanceEnded(Event):
    """An instance came to its end, at an exit step, by an exit trigger or by hand."""

    fact: ClassVar[str] = "journey.instance_ended.v1"

    state: InstanceState
    reason: str


class MessageDue(Event):
    """A journey sends its customer a message now."""

    fact: ClassVar[str] = "journey.message_due.v1"

    message_id: UUID
    state: InstanceState
    channel: str
    template: str
    content: dict[str, Json]


class JourneySeriesNeeded(SeriesNeeded):
    """The series that the conditions of the published journeys need."""

    fact: ClassVar[str] = "journey.series_needed.v1"
