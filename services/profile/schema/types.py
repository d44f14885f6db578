"""The GraphQL types that profile owns."""

from collections.abc import Mapping
from datetime import datetime
from typing import Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from services.chassis.authorization import STAFF, customer_field, staff_field
from services.chassis.errors import RaakError
from services.chassis.masking import Hide, leave_unmasked
from services.chassis.pagination import (
    After,
    First,
    PageInfo,
    decode_cursor,
    encode_cursor,
    page_size,
)
from services.chassis.resolvers import copy_fields
from services.chassis.schema import LinkSource, SenderClass
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

for enum in (ConsentStatus, ContextCategory, IdentityChangeKind, LawfulBasis, TraitKind):
    strawberry.enum(enum)


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


@strawberry.federation.type(requires_scopes=[["identities:read"]])
class Identity:
    """One way a customer is known."""

    type: str
    """`user_id`, `crm_id`, `loyalty_id`, `email`, `phone`, `anonymous_id` or `device`, the
    strongest first.
    """
    value: str
    """In its normal form: an e-mail address in lower case, a phone number as + and digits."""

    @classmethod
    def from_domain(cls, identity: identity_domain.Identity) -> Self:
        return cls(type=identity.type, value=identity.value)


@strawberry.type
class Trait:
    """Something known of a customer: who said so, when, and on what lawful basis."""

    name: str
    """As in conditions: `city` is `traits.city` there."""
    value: JSON
    """The latest value; `•••` if it may identify the customer and the caller may not read
    identities.
    """
    kind: TraitKind
    """How it came to be."""
    context: ContextCategory
    """What it is about."""
    source: str
    """The system it comes from, in its sender's words; `segment` or `graph` if it gave none."""
    lawful_basis: LawfulBasis
    """The legal ground it is stored on."""
    observed_at: datetime
    """When it was so, by the sender's account; a later observation replaces it."""
    sender: SenderClass
    """How far it can be trusted: a lower class of sender never replaces it."""

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


@strawberry.type
class Consent:
    """A customer's latest choice on one purpose."""

    purpose: str
    """What they were asked about, as actions and journeys name it: `email_marketing`."""
    status: ConsentStatus
    """What they chose, or what holds because they have not."""
    lawful_basis: LawfulBasis
    """The legal ground that was given with the choice."""
    source: str
    """The system it was asked in, in its sender's words."""
    changed_at: datetime
    """When they chose, by the sender's account."""
    sender: SenderClass
    """Who reported the choice."""

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


@strawberry.federation.type(policy=STAFF, requires_scopes=[["segments:read"], ["segments:write"]])
class Segment:
    """Customers of whom one condition is true now, under a name."""

    key: strawberry.ID
    """Its lasting name, as conditions write it: `"lapsed" in segments`."""
    version: int
    """1 at first; one more with each definition that differs."""
    name: str
    """For people, one line."""
    description: str
    """For people: whom it is meant to hold. Empty if its author wrote none."""
    condition: str
    """What must be true of a customer, in the condition language."""
    published_at: datetime
    """When this version was put in force."""

    @strawberry.field
    async def customer_count(self, info: Info) -> int:
        """How many customers are in it now; for a while after publishing, how many were found so
        far.
        """
        return await info.context.counts.load(str(self.key))

    @classmethod
    def from_domain(cls, segment: segment_domain.Segment) -> Self:
        return copy_fields(cls, segment)


@strawberry.type
class SegmentMembership:
    """A customer is in a segment."""

    key: strawberry.ID
    """The segment's lasting name."""
    since: datetime
    """When its condition last became true of them."""

    @strawberry.field
    async def segment(self, info: Info) -> Segment | None:
        """The segment as it is defined now; null if it was removed since."""
        segment = await info.context.segments.load(str(self.key))
        return Segment.from_domain(segment) if segment else None


@strawberry.federation.type(policy=STAFF)
class Feature:
    """An aggregate of a customer's history that a segment uses, and its value now."""

    name: str
    """As it is written in the condition: `events.count("product_viewed", last="7d")`."""
    value: JSON | None
    """A number, text, moment or whatever the aggregate gives; null if their history has nothing for
    it.
    """


@strawberry.type
class CustomerEvent:
    """Something a customer did or said, as it was recorded."""

    id: strawberry.ID
    """Opaque; a touchpoint made of it carries it within its own id."""
    kind: str
    """The call of the Segment spec it came by: track, identify, page, screen, group, alias or
    consent; or outcome.
    """
    name: str
    """What conditions call it; of other calls than track the name of the call."""
    occurred_at: datetime
    """When it happened, corrected for the sender's clock."""
    received_at: datetime
    """When it reached us, which can be much later."""
    properties: JSON | None
    """A JSON object with its details; the traits of an identify call."""
    context: JSON | None = strawberry.federation.field(requires_scopes=[["identities:read"]])
    """Its circumstances, with addresses and devices, for example."""
    message_id: str
    """What its sender knows it by; it counts once for a customer and class of sender."""
    sender: SenderClass
    """Who reported it: what a browser says is not proved."""

    @classmethod
    def from_domain(cls, event: event_store.StoredEvent) -> Self:
        return copy_fields(
            cls, event, id=strawberry.ID(str(event.event_id)), sender=SenderClass(event.sender)
        )


@strawberry.type
class EventEdge:
    """An event and where it stands in the list."""

    node: CustomerEvent
    """What the customer did or said."""
    cursor: str
    """Opaque; as `after` it asks for the events before this one in time."""


@strawberry.type
class EventConnection:
    """A page of a customer's events, the latest first."""

    edges: list[EventEdge]
    """At most as many as `first`; empty if there is nothing (more) to tell."""
    page_info: PageInfo
    """Whether older events follow, and from where."""


@strawberry.type
class IdentityChange:
    """A merge, or an identity that stayed with its owner: how a customer became who they are."""

    id: strawberry.ID
    """Opaque; a merge can be undone by it."""
    kind: IdentityChangeKind
    """Whether customers were merged or an attempt was refused."""
    from_customer: strawberry.ID
    """The id of the customer that was absorbed, or that claimed the identity."""
    into_customer: strawberry.ID
    """The id of the customer that remains, or that owns the identity."""
    identities: list[Identity] | None
    """The identities it was about."""
    reason: str
    """Which rule applied, in a few words."""
    at: datetime
    """When it was decided here, not when the event behind it happened."""
    linked_by: LinkSource | None
    """Who said so; null if that was not recorded yet."""

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


@strawberry.federation.type(requires_scopes=[["identities:read"]])
class IdentityClaim:
    """An identity that somebody named as a customer's without proof. It becomes theirs when a
    server or a signed claim says so.
    """

    type: str
    """The kind of identity, such as `email`."""
    value: str
    """In its normal form. It may be another person's."""
    sender: SenderClass
    """The class of sender that claimed it."""
    first_claimed_at: datetime
    """When it was named for the first time."""
    last_claimed_at: datetime
    """When it was named most recently; claims are listed by it."""
    confirmed_at: datetime | None
    """When a server proved it; null while nobody has."""

    @classmethod
    def from_domain(cls, claim: claim_store.IdentityClaim) -> Self:
        kind, value = claim.identity
        return copy_fields(cls, claim, type=kind, value=value, sender=SenderClass(claim.sender))


@strawberry.federation.type(keys=["id"])
class Customer:
    """A person we decide for, known by name or only by a browser or device. Lists and pages of them
    are null only where the caller may not have them.
    """

    id: strawberry.ID
    """Opaque id; it stays through merges, and the id of an absorbed customer leads to the one that
    remains.
    """

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

    @customer_field(IDENTITIES)
    async def identities(self, info: Info) -> list[Identity] | None:
        """All their identities, the strongest first."""
        identities = (await self.load(info)).identities
        return [Identity.from_domain(one) for one in identity_domain.sort_by_strength(identities)]

    @staff_field(IDENTITIES)
    async def claims(self, info: Info) -> list[IdentityClaim] | None:
        """Identities claimed for them without proof, the latest first; at most 20."""
        customer = await self.load(info)
        return [
            IdentityClaim.from_domain(claim)
            for claim in await info.context.claims.load(customer.id)
        ]

    @customer_field()
    async def traits(
        self,
        info: Info,
        names: list[str] | None = None,
        kind: TraitKind | None = None,
        context: ContextCategory | None = None,
    ) -> list[Trait] | None:
        """The latest value of each trait, by name.

        Args:
            names: Only these, by name; null asks for all.
            kind: Only traits of this kind; null asks for all.
            context: Only traits about this; null asks for all.
        """
        current = (await self.load(info)).current_traits()
        return [
            Trait.from_domain(name, trait, sender)
            for name, (trait, sender) in sorted(current.items())
            if (names is None or name in names)
            and (kind is None or trait.kind == kind)
            and (context is None or trait.context == context)
        ]

    @customer_field()
    async def consents(self, info: Info) -> list[Consent] | None:
        """The latest choice on each purpose, by purpose; what they never chose is absent."""
        current = (await self.load(info)).current_consents()
        return [
            Consent.from_domain(purpose, consent, sender)
            for purpose, (consent, sender) in sorted(current.items())
        ]

    @customer_field()
    async def segments(self, info: Info) -> list[SegmentMembership] | None:
        """The segments they are in now, by key."""
        segments = (await self.load(info)).segments
        return [
            SegmentMembership(key=strawberry.ID(key), since=since)
            for key, since in sorted(segments.items())
        ]

    @customer_field()
    async def features(self, info: Info, names: list[str] | None = None) -> list[Feature] | None:
        """The aggregates of their history that segments use, and their values now.

        Args:
            names: Only these, as conditions write them; null asks for all.
        """
        customer = await self.load(info)
        definitions = await info.context.segment_definitions()
        values = definitions.feature_values(customer, info.context.clock())
        return [
            Feature(name=name, value=value)
            for name, value in values.items()
            if names is None or name in names
        ]

    @customer_field()
    async def events(
        self, info: Info, first: First = 20, after: After = None, name: str | None = None
    ) -> EventConnection | None:
        """All they did or said, the latest first.

        Args:
            name: Only events of this name; null asks for all.
        """
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

    @customer_field(IDENTITIES)
    async def history(self, info: Info) -> list[IdentityChange] | None:
        """Merges, and identities that were claimed but stayed with their owner, the oldest first. A
        caller that speaks for this customer sees merges only.
        """
        customer = await self.load(info)
        # a refusal reveals that an identity is another customer's
        changes = await info.context.changes.load(customer.id)
        if info.context.principal.own_customer_only:
            changes = [c for c in changes if c[0].kind is IdentityChangeKind.MERGED]
        return [IdentityChange.from_domain(change, at) for change, at in changes]


HIDES: Mapping[str, Hide] = {
    "CustomerEvent.properties": lambda masking, event, properties: masking.mask(
        properties, are_traits=event.kind == "identify"
    ),
    "Feature.value": lambda masking, feature, value: masking.mask_compared(feature.name, value),
    "PageInfo": leave_unmasked,
    "Segment": leave_unmasked,
    "Trait.value": lambda masking, trait, value: masking.mask_member(
        trait.name, value, are_traits=True
    ),
}
"""How fields that may identify somebody look to callers that may not read identities."""


@strawberry.type
class CustomerEdge:
    """A customer and where they stand in the list."""

    node: Customer
    """Somebody of whom it was true when the page was read."""
    cursor: str
    """Opaque; as `after` it asks for the customers behind this one."""


@strawberry.type
class CustomerConnection:
    """Customers by id. `pageInfo.hasNextPage` says that there are more to look at, not that one of
    them will match.
    """

    edges: list[CustomerEdge]
    """Those that match among the customers looked at; it can be empty while a next page has some.
    """
    page_info: PageInfo
    """Whether there are more customers to look at, and from where."""
