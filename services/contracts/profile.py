"""What profile publishes."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from services.contracts.base import Event, Json, Payload
from services.contracts.words import LinkSource, SenderClass


class Identity(Payload):
    """One way a customer is known; `value` is normalised."""

    type: str
    value: str


class EventRecorded(Event):
    """A customer did something: a track, page, screen or group call of the Segment spec."""

    fact: ClassVar[str] = "profile.event_recorded.v1"

    name: str
    properties: dict[str, Json]
    context: dict[str, Json]
    """Where it happened; `context.campaign` holds UTM names."""
    message_id: str
    """The sender's own id of the event; the same one is recorded once."""
    identity: Identity
    """The identity the event came by."""
    received_at: datetime
    customer_version: int
    """The first snapshot version that contains this event."""
    sender: str = SenderClass.SERVER.value
    """Who said so, a `SenderClass`; of before that was said, as it was believed then."""


class CustomerChanged(Event):
    """The whole snapshot of a customer. A version not above the one held is ignored."""

    fact: ClassVar[str] = "profile.customer_changed.v1"
    compacted: ClassVar[bool] = True

    version: int
    identities: tuple[Identity, ...]
    traits: dict[str, Json]
    """Name to current value."""
    consents: dict[str, bool]
    """Purpose to whether it is given; a purpose never asked is absent."""
    segments: tuple[str, ...]
    series: dict[str, Json]
    """`Series.key` to the state of that series, as `services.rules` reads it."""
    series_versions: dict[str, int] = Field(default={})
    """Service to `grew_in` of the `SeriesNeeded` that `series` answers; 0 if absent. What was asked
    for later is not known, whether `series` has it or not."""


class CustomersMerged(Event):
    """Two customers are one: everything of `from_customer_id` is now `customer_id`'s."""

    fact: ClassVar[str] = "profile.customers_merged.v1"

    change_id: UUID
    from_customer_id: UUID
    identities: tuple[Identity, ...]
    """The identities that moved."""
    reason: str
    linked_by: LinkSource | None = None
    """By whose word they are one; None if that was not noted."""

    @property
    def is_proved(self) -> bool:
        """Whether somebody said so who may say who a customer is."""
        return self.linked_by is not None and self.linked_by.is_proved
