"""What journey publishes."""

from typing import ClassVar
from uuid import UUID

from services.contracts.base import Event, Json, Payload
from services.contracts.series import SeriesNeeded


class InstanceState(Payload):
    """Where one run of a journey stands."""

    instance_id: UUID
    journey: str
    version: int
    """Of the journey's definition."""
    key: str
    """What the instance is about, beside the customer: "" or for example an order number."""
    step: str
    phase: str | None
    sequence: int
    """Grows with every step of the instance; a state with a lower one is older."""


class StepEntered(Event):
    """An instance went on to another step."""

    fact: ClassVar[str] = "journey.step_entered.v1"

    state: InstanceState


class InstanceEnded(Event):
    """An instance came to its end, by its own exit or another's hand."""

    fact: ClassVar[str] = "journey.instance_ended.v1"

    state: InstanceState
    reason: str


class MessageDue(Event):
    """A journey has something to say to its customer now."""

    fact: ClassVar[str] = "journey.message_due.v1"

    message_id: UUID
    state: InstanceState
    channel: str
    template: str
    content: dict[str, Json]


class JourneySeriesNeeded(SeriesNeeded):
    """What the published journeys' conditions ask of history."""

    fact: ClassVar[str] = "journey.series_needed.v1"
