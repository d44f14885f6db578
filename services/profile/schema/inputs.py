"""The inputs of profile's mutations, and how they become calls of the Segment spec."""

from datetime import datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from services.chassis.errors import RaakError
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


class InvalidReference(RaakError, code="PROFILE_INVALID_REFERENCE"):
    """A reference that names no customer, or two."""


@strawberry.input(description="An identity of a customer.")
class IdentityInput:
    type: str
    value: str


@strawberry.input(description="The customer, by one of these.")
class CustomerRef:
    id: strawberry.ID | None = strawberry.UNSET
    identity: IdentityInput | None = strawberry.UNSET

    def read(self) -> queries.CustomerRef:
        """The reference; raises InvalidReference, and what reading an id or identity raises."""
        if bool(self.id) == bool(self.identity):
            raise InvalidReference(
                "A customer is named by `id` or by `identity`, one of them.",
                hint='Pass {identity: {type: "email", value: "…"}}, or {id: "…"}.',
            )
        if self.identity:
            return parse_identity(self.identity.type, self.identity.value)
        return read_id(str(self.id))


@strawberry.input(
    description="Traits and further identities of a customer. `email`, `phone`, `crm_id` and"
    " `loyalty_id` among the traits are identities too."
)
class IdentifyInput:
    customer: CustomerRef
    identities: list[IdentityInput] | None = strawberry.field(default_factory=list)
    traits: JSON | None = strawberry.UNSET
    kind: TraitKind | None = TraitKind.DECLARED
    context: ContextCategory | None = ContextCategory.RELATIONAL
    source: str | None = "graph"
    lawful_basis: LawfulBasis | None = LawfulBasis.LI
    at: datetime | None = strawberry.UNSET
    message_id: str | None = strawberry.UNSET

    def event_fields(self) -> dict[str, Any]:
        raak = {
            "kind": self.kind,
            "context": self.context,
            "source": "graph" if self.source is None else self.source,
            "lawfulBasis": self.lawful_basis,
        }
        return _event(self.at, self.message_id, traits=self.traits or {}, context={"raak": raak})


@strawberry.input(description="Something a customer did.")
class TrackInput:
    customer: CustomerRef
    event: str
    properties: JSON | None = strawberry.UNSET
    context: JSON | None = strawberry.UNSET
    at: datetime | None = strawberry.UNSET
    message_id: str | None = strawberry.UNSET

    def event_fields(self) -> dict[str, Any]:
        return _event(
            self.at,
            self.message_id,
            event=self.event,
            properties=self.properties or {},
            context=self.context or {},
        )


@strawberry.input(description="A customer's choice on one purpose.")
class ConsentInput:
    customer: CustomerRef
    purpose: str
    status: ConsentStatus
    lawful_basis: LawfulBasis | None = LawfulBasis.CONSENT
    source: str | None = "graph"
    at: datetime | None = strawberry.UNSET

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
