"""The inputs of profile's mutations, and how they become calls of the Segment spec."""

from datetime import datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from services.chassis.schema import CustomerRef, IdentityInput
from services.profile.domain.enums import (
    XDM_STATUS,
    ConsentStatus,
    ContextCategory,
    LawfulBasis,
    TraitKind,
)
from services.profile.domain.identities import parse_identity
from services.profile.schema.types import read_id
from services.profile.service import queries

XDM_LETTERS = {status: letter for letter, status in XDM_STATUS.items()}


def parse_customer(ref: CustomerRef) -> queries.CustomerRef:
    """What names a customer; raises what reading an id or identity raises."""
    if ref.identity:
        return parse_identity(ref.identity.type, ref.identity.value)
    return read_id(str(ref.id))


@strawberry.input
class IdentifyInput:
    """Traits and further identities of a customer. `email`, `phone`, `crm_id` and `loyalty_id`
    among the traits are identities too.
    """

    customer: CustomerRef
    """An identity nobody has makes a new customer; an unknown id is `PROFILE_UNKNOWN_CUSTOMER`."""
    identities: list[IdentityInput] | None = strawberry.field(default_factory=list)
    """What else they are known by. A caller that speaks for one customer names none but theirs."""
    traits: JSON | None = strawberry.UNSET
    """A JSON object of values by trait; a null takes that trait back. Others stay as they are."""
    kind: TraitKind | None = TraitKind.DECLARED
    """How all these traits came to be; null is DECLARED."""
    context: ContextCategory | None = ContextCategory.RELATIONAL
    """What all these traits are about; null is RELATIONAL."""
    source: str | None = "graph"
    """The system they come from, a word of your own. Browsers and apps may say `segment` or `graph`
    only.
    """
    lawful_basis: LawfulBasis | None = LawfulBasis.LI
    """The legal ground to store them on; null is LI."""
    at: datetime | None = strawberry.UNSET
    """When they were observed; now if left out. The latest observation counts, in whatever order
    they come.
    """
    message_id: str | None = strawberry.UNSET
    """Chosen by the caller: the same one again changes nothing. Left out, a repetition counts
    twice.
    """

    def event_fields(self) -> dict[str, Any]:
        raak = {
            "kind": self.kind,
            "context": self.context,
            "source": "graph" if self.source is None else self.source,
            "lawfulBasis": self.lawful_basis,
        }
        return _event(self.at, self.message_id, traits=self.traits or {}, context={"raak": raak})


@strawberry.input
class TrackInput:
    """Something a customer did."""

    customer: CustomerRef
    """Who did it. An identity nobody has makes a new customer; an unknown id is
    `PROFILE_UNKNOWN_CUSTOMER`.
    """
    event: str
    """What they did, as conditions and journeys call it: `product_viewed`. At most 255 characters.
    """
    properties: JSON | None = strawberry.UNSET
    """A JSON object of details, such as the product; conditions read them. At most 32 KB with the
    rest.
    """
    context: JSON | None = strawberry.UNSET
    """A JSON object about the circumstances, as in Segment's calls: page, device, campaign,
    consent.
    """
    at: datetime | None = strawberry.UNSET
    """When it happened; now if left out. At most five minutes ahead of our clock."""
    message_id: str | None = strawberry.UNSET
    """Chosen by the caller: the same one again records nothing. Left out, a repetition counts
    twice.
    """

    def event_fields(self) -> dict[str, Any]:
        return _event(
            self.at,
            self.message_id,
            event=self.event,
            properties=self.properties or {},
            context=self.context or {},
        )


@strawberry.input
class ConsentInput:
    """A customer's choice on one purpose."""

    customer: CustomerRef
    """Whose choice it is. An identity nobody has makes a new customer."""
    purpose: str
    """What the data or contact is for, as actions and journeys name it: `email_marketing`."""
    status: ConsentStatus
    """What they chose."""
    lawful_basis: LawfulBasis | None = LawfulBasis.CONSENT
    """The legal ground; null is CONSENT, the only one browsers and apps may give."""
    source: str | None = "graph"
    """The system it was asked in, a word of your own. Browsers and apps may say `segment` or
    `graph` only.
    """
    at: datetime | None = strawberry.UNSET
    """When they chose; now if left out. The latest choice counts, in whatever order they come."""

    def event_fields(self) -> dict[str, Any]:
        """The input as a call of the spec: an event that carries the consent in its context."""
        raak = {
            "source": "graph" if self.source is None else self.source,
            "lawfulBasis": (self.lawful_basis or LawfulBasis.CONSENT).value,
        }
        preferences = {self.purpose: XDM_LETTERS[self.status]}
        return _event(
            self.at,
            None,
            event="consent_changed",
            properties={"purpose": self.purpose, "status": self.status.value, **raak},
            context={"raak": raak, "consent": {"categoryPreferences": preferences}},
        )


def _event(at: datetime | None, message_id: str | None, **fields: Any) -> dict[str, Any]:
    timestamp = at.isoformat() if at else None
    return {**fields, "timestamp": timestamp, "messageId": message_id or None}
