"""The GraphQL types that profile owns."""

from collections.abc import Mapping
from datetime import datetime
from typing import Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from services.chassis.authorization import STAFF, for_staff, of_customer
from services.chassis.errors import RaakError
from services.chassis.masking import Hide, leave_unmasked
from services.chassis.pagination import PageInfo, decode_cursor, encode_cursor, page_size
from services.chassis.resolvers import copy_fields
from services.contracts.enums import LinkSource, SenderClass
from services.profile.domain import customer as domain
from services.profile.domain import identities as identity_domain
from services.profile.domain import segment_definitions as segment_domain
from services.profile.domain.enums import (
    ConsentStatus,
    ContextCategory,
    IdentityChangeKind,
    LawfulBasis,
    TraitKind,
)
from services.profile.schema.context import Context
from services.profile.store import claims as claim_store
from services.profile.store import events as event_store

Info = strawberry.Info[Context, None]
IDENTITIES = [["identities:read"]]

strawberry.enum(TraitKind, description="How a trait came to be.")
strawberry.enum(ContextCategory, description="What a trait is about.")
strawberry.enum(
    LawfulBasis,
    description="Consent, or XDM's LI legitimate interest, CT contract, CP compliance,"
    " VI vital interest, PI public interest.",
)
strawberry.enum(ConsentStatus, description="XDM's y, n, p, u, dy and dn, spelled out.")
strawberry.enum(
    IdentityChangeKind,
    name="IdentityChangeKind",
    description="MERGED: two customers became one. REFUSED: an identity stayed with its owner.",
)

strawberry.enum(
    SenderClass,
    description="Who sent something: a visitor's or app's token, a write key, a server's API key,"
    " or staff.",
)
strawberry.enum(
    LinkSource, description="Who said that identities are one customer's; CLAIM: a signed claim."
)


class InvalidId(RaakError, code="PROFILE_INVALID_ID"):
    """An id that is not of this graph."""


def read_id(id: str) -> UUID:
    """A customer's id from a GraphQL ID; raises InvalidId."""
    try:
        return UUID(id)
    except ValueError:
        raise InvalidId(
            f"{id[:60]!r} is not the id of a customer.",
            hint="Pass an id this graph gave, or name the customer by an identity.",
        ) from None


@strawberry.federation.type(
    description="One way a customer is known.", requires_scopes=[["identities:read"]]
)
class Identity:
    type: str
    value: str

    @classmethod
    def from_domain(cls, identity: identity_domain.Identity) -> Self:
        return cls(type=identity.type, value=identity.value)


@strawberry.type(
    description="Something known of a customer: who said so, when, and on what lawful basis."
)
class Trait:
    name: str
    value: JSON
    kind: TraitKind
    context: ContextCategory
    source: str
    lawful_basis: LawfulBasis
    observed_at: datetime
    sender: SenderClass

    @classmethod
    def from_domain(cls, name: str, trait: domain.Trait, sender: SenderClass) -> Self:
        return copy_fields(
            cls,
            trait,
            name=name,
            kind=TraitKind(trait.kind),
            context=ContextCategory(trait.context),
            lawful_basis=LawfulBasis(trait.lawful_basis),
            sender=sender,
        )


@strawberry.type(description="A customer's latest choice on one purpose.")
class Consent:
    purpose: str
    status: ConsentStatus
    lawful_basis: LawfulBasis
    source: str
    changed_at: datetime
    sender: SenderClass

    @classmethod
    def from_domain(cls, purpose: str, consent: domain.Consent, sender: SenderClass) -> Self:
        return copy_fields(
            cls,
            consent,
            purpose=purpose,
            status=ConsentStatus(consent.status),
            lawful_basis=LawfulBasis(consent.lawful_basis),
            sender=sender,
        )


@strawberry.federation.type(
    description="Customers who have something in common now.",
    policy=STAFF,
    requires_scopes=[["segments:read"], ["segments:write"]],
)
class Segment:
    key: strawberry.ID
    version: int
    name: str
    description: str
    condition: str
    published_at: datetime

    @strawberry.field(description="How many customers are in it.")
    async def customer_count(self, info: Info) -> int:
        return await info.context.counts.load(str(self.key))

    @classmethod
    def from_domain(cls, segment: segment_domain.Segment) -> Self:
        return copy_fields(cls, segment)


@strawberry.type(description="A customer is in a segment.")
class SegmentMembership:
    key: strawberry.ID
    since: datetime

    @strawberry.field(description="The segment as it is defined now.")
    async def segment(self, info: Info) -> Segment | None:
        segment = await info.context.segments.load(str(self.key))
        return Segment.from_domain(segment) if segment else None


@strawberry.federation.type(
    description="An aggregate of a customer's history that a segment uses, and its value now.",
    policy=STAFF,
)
class Feature:
    name: str
    value: JSON | None


@strawberry.type(description="Something a customer did or said, as it was recorded.")
class CustomerEvent:
    id: strawberry.ID
    kind: str
    name: str
    occurred_at: datetime
    received_at: datetime
    properties: JSON | None
    context: JSON | None = strawberry.federation.field(
        description="Addresses and devices, for example.", requires_scopes=[["identities:read"]]
    )
    message_id: str
    sender: SenderClass

    @classmethod
    def from_domain(cls, event: event_store.StoredEvent) -> Self:
        return copy_fields(
            cls, event, id=strawberry.ID(str(event.event_id)), sender=SenderClass(event.sender)
        )


@strawberry.type
class EventEdge:
    node: CustomerEvent
    cursor: str


@strawberry.type(description="A customer's events, the latest first.")
class EventConnection:
    edges: list[EventEdge]
    page_info: PageInfo


@strawberry.type(description="What happened to the identities of a customer.")
class IdentityChange:
    id: strawberry.ID
    kind: IdentityChangeKind
    from_customer: strawberry.ID
    into_customer: strawberry.ID
    identities: list[Identity] | None
    reason: str
    at: datetime
    linked_by: LinkSource | None = strawberry.field(
        description="Who said so; null if that was not recorded yet."
    )

    @classmethod
    def from_domain(cls, change: identity_domain.IdentityChange, at: datetime) -> Self:
        return copy_fields(
            cls,
            change,
            id=strawberry.ID(str(change.id)),
            from_customer=strawberry.ID(str(change.from_customer)),
            into_customer=strawberry.ID(str(change.into_customer)),
            identities=[Identity.from_domain(identity) for identity in change.identities],
            at=at,
        )


@strawberry.federation.type(
    description="An identity that somebody named as a customer's without proof. It becomes theirs"
    " when a server or a signed claim says so.",
    requires_scopes=[["identities:read"]],
)
class IdentityClaim:
    type: str
    value: str
    sender: SenderClass
    first_claimed_at: datetime
    last_claimed_at: datetime
    confirmed_at: datetime | None

    @classmethod
    def from_domain(cls, claim: claim_store.IdentityClaim) -> Self:
        kind, value = claim.identity
        return copy_fields(cls, claim, type=kind, value=value, sender=SenderClass(claim.sender))


@strawberry.federation.type(keys=["id"], description="A person we know, or a visitor.")
class Customer:
    """Every field reads through the request's loaders, which also check who may see whom."""

    id: strawberry.ID

    @classmethod
    def resolve_reference(cls, id: str) -> Self:
        return cls.from_id(read_id(str(id)))

    @classmethod
    def from_id(cls, customer_id: UUID) -> Self:
        return cls(id=strawberry.ID(str(customer_id)))

    async def load(self, info: Info) -> domain.Customer:
        """All that is known of the customer: nothing for a visitor not recorded yet."""
        customer_id = read_id(str(self.id))
        return await info.context.customer(customer_id) or domain.Customer(customer_id)

    @of_customer("All their identities, the strongest first.", IDENTITIES)
    async def identities(self, info: Info) -> list[Identity] | None:
        identities = (await self.load(info)).identities
        return [Identity.from_domain(one) for one in identity_domain.sort_by_strength(identities)]

    @for_staff("Identities claimed for them without proof, the latest first.", IDENTITIES)
    async def claims(self, info: Info) -> list[IdentityClaim] | None:
        customer = await self.load(info)
        return [
            IdentityClaim.from_domain(claim)
            for claim in await info.context.claims.load(customer.id)
        ]

    @of_customer("The latest value of each trait.")
    async def traits(
        self,
        info: Info,
        names: list[str] | None = None,
        kind: TraitKind | None = None,
        context: ContextCategory | None = None,
    ) -> list[Trait] | None:
        current = (await self.load(info)).current_traits()
        return [
            Trait.from_domain(name, trait, sender)
            for name, (trait, sender) in sorted(current.items())
            if (names is None or name in names)
            and (kind is None or trait.kind == kind)
            and (context is None or trait.context == context)
        ]

    @of_customer("The latest choice on each purpose.")
    async def consents(self, info: Info) -> list[Consent] | None:
        current = (await self.load(info)).current_consents()
        return [
            Consent.from_domain(purpose, consent, sender)
            for purpose, (consent, sender) in sorted(current.items())
        ]

    @of_customer("The segments they are in now.")
    async def segments(self, info: Info) -> list[SegmentMembership] | None:
        segments = (await self.load(info)).segments
        return [
            SegmentMembership(key=strawberry.ID(key), since=since)
            for key, since in sorted(segments.items())
        ]

    @of_customer("The aggregates of their history that segments use, and their values now.")
    async def features(self, info: Info, names: list[str] | None = None) -> list[Feature] | None:
        customer = await self.load(info)
        definitions = await info.context.segment_definitions()
        values = definitions.feature_values(customer, info.context.clock())
        return [
            Feature(name=name, value=value)
            for name, value in values.items()
            if names is None or name in names
        ]

    @of_customer("All they did or said, the latest first.")
    async def events(
        self, info: Info, first: int = 20, after: str | None = None, name: str | None = None
    ) -> EventConnection | None:
        customer, size = await self.load(info), page_size(first)
        position = decode_cursor(after, datetime.fromisoformat, UUID)
        async with info.context.database.connection() as connection:
            rows = await event_store.read_page(connection, customer.id, name, position, size + 1)
        edges = [
            EventEdge(
                node=CustomerEvent.from_domain(row),
                cursor=encode_cursor(row.occurred_at, str(row.event_id)),
            )
            for row in rows[:size]
        ]
        return EventConnection(edges=edges, page_info=PageInfo.from_edges(edges, len(rows) > size))

    @of_customer(
        "Merges, and identities that were claimed but stayed with their owner.",
        IDENTITIES,
    )
    async def history(self, info: Info) -> list[IdentityChange] | None:
        """A refusal reveals that an identity is another customer's, so customers see none."""
        customer = await self.load(info)
        changes = await info.context.changes.load(customer.id)
        if info.context.principal.own_customer_only:
            changes = [c for c in changes if c[0].kind is IdentityChangeKind.MERGED]
        return [IdentityChange.from_domain(change, at) for change, at in changes]


HIDES: Mapping[str, Hide] = {
    "CustomerEvent.properties": lambda masking, event, properties: masking.mask(
        properties, of_customer=event.kind == "identify"
    ),
    "Feature.value": lambda masking, feature, value: masking.mask_compared(feature.name, value),
    "PageInfo": leave_unmasked,
    "Segment": leave_unmasked,
    "Trait.value": lambda masking, trait, value: masking.mask_member(
        trait.name, value, of_customer=True
    ),
}
"""How fields that may identify somebody look to callers that may not read identities."""


@strawberry.type
class CustomerEdge:
    node: Customer
    cursor: str


@strawberry.type(
    description="Customers by id. `pageInfo.hasNextPage` says that there are more to look at,"
    " not that one of them will match."
)
class CustomerConnection:
    edges: list[CustomerEdge]
    page_info: PageInfo
