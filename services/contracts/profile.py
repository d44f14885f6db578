"""What profile publishes."""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, Self
from uuid import UUID

import orjson
from pydantic import Field

from services.contracts.base import Event, Json, Payload
from services.contracts.enums import PROVED_LINKS, SenderClass
from services.contracts.identity import ANONYMOUS_TYPES


class IdentityPayload(Payload):
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
    identity: IdentityPayload
    received_at: datetime
    customer_version: int
    """The first snapshot version that contains this event."""
    sender: str = SenderClass.SERVER.value
    """Who sent it, a `SenderClass`; the default is for events from before senders were recorded."""


class EventSetAside(Event):
    """Recording an event failed by profile's own fault: it waits to be tried again.

    Only profile listens. `occurred_at` is when it failed; whose the event is was not known then.
    """

    fact: ClassVar[str] = "profile.event_set_aside.v1"

    call: dict[str, Json]


class CustomerChanged(Event):
    """The whole snapshot of a customer. One whose version is not above the last is ignored.

    One that is too large for the bus leaves out, in this order and no more than it must: the
    largest traits; the largest series, each of which is null then: not known; identities of
    browsers and devices. Consents and segments are always complete.
    """

    fact: ClassVar[str] = "profile.customer_changed.v1"
    compacted: ClassVar[bool] = True

    version: int
    identities: tuple[IdentityPayload, ...]
    traits: dict[str, Json]
    consents: dict[str, bool]
    """Purpose to whether consent is given; a purpose without a yes or no is absent."""
    segments: tuple[str, ...]
    series: dict[str, Json]
    """`Series.key` to the state of that series, as `services.rules` reads it; null: not known."""
    series_versions: dict[str, int] = Field(default={})
    """Service to `grew_in` of the `SeriesNeeded` that `series` answers; 0 if absent. Series needed
    since a later version are not known, whether `series` has them or not."""
    unproved_traits: tuple[str, ...] = ()
    """The traits whose current value came from an untrusted sender."""

    def fit(self, largest_bytes: int) -> Self:
        """The snapshot with as little left out as makes it fit, if it can."""
        excess = len(self.to_cloudevent()) - largest_bytes
        traits = {name: _size(name) + _size(value) for name, value in self.traits.items()}
        series = {key: _size(state) - len("null") for key, state in self.series.items()}
        without_traits, excess = _largest(traits, excess)
        without_series, excess = _largest(series, excess)
        unproved = (name for name in self.unproved_traits if name not in without_traits)
        return self.model_copy(
            update={
                "traits": {n: v for n, v in self.traits.items() if n not in without_traits},
                "unproved_traits": tuple(unproved),
                "series": self.series | dict.fromkeys(without_series),
                "identities": _drop_anonymous(self.identities, excess),
            }
        )


def _size(value: Json) -> int:
    return len(orjson.dumps(value))


def _largest(sizes: Mapping[str, int], excess: int) -> tuple[set[str], int]:
    """The names of the largest until their sizes reach the excess, and what remains of it."""
    chosen: set[str] = set()
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        if excess <= 0 or sizes[name] <= 0:
            break
        chosen.add(name)
        excess -= sizes[name]
    return chosen, excess


def _drop_anonymous(
    identities: tuple[IdentityPayload, ...], excess: int
) -> tuple[IdentityPayload, ...]:
    """The identities without those of browsers and devices, until it fits."""
    rest = []
    for identity in identities:
        if excess > 0 and identity.type in ANONYMOUS_TYPES:
            excess -= _size(identity.model_dump())
        else:
            rest.append(identity)
    return tuple(rest)


class CustomersMerged(Event):
    """Two customers are one: everything of `from_customer_id` is now `customer_id`'s."""

    fact: ClassVar[str] = "profile.customers_merged.v1"

    change_id: UUID
    from_customer_id: UUID
    identities: tuple[IdentityPayload, ...]
    """The identities that moved; if there are thousands, those of a person and as many as fit."""
    reason: str
    linked_by: str | None = None
    """What linked them, a `LinkSource`; None if that was not recorded."""

    @property
    def is_proved(self) -> bool:
        """Whether what linked the two is proof."""
        return self.linked_by in PROVED_LINKS

    def fit(self, largest_bytes: int) -> Self:
        excess = len(self.to_cloudevent()) - largest_bytes
        return self.model_copy(update={"identities": _drop_anonymous(self.identities, excess)})
