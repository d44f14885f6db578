"""The tables of profile. Keys of customer tables begin with the customer, look-ups with the key.

Events, traits and consents keep the identity they came by beside the customer they now belong
to, so that a merge can be undone.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.chassis import outbox
from services.chassis.tables import BigInt, IdKey, JsonObject, TableBase, TextKey, partial_index

metadata = sa.MetaData()
outbox.tables(metadata)


class Table(TableBase):
    __abstract__ = True
    metadata = metadata


class Customer(Table):
    """A customer and the state of their series; one merged away only names the survivor."""

    __table_args__ = (
        partial_index("customer_rules_version", "rules_version", where="merged_into IS NULL"),
        partial_index("customer_reevaluate_at", "reevaluate_at", where="reevaluate_at IS NOT NULL"),
    )

    customer_id: Mapped[IdKey]
    version: Mapped[BigInt]
    """Of their snapshot."""
    rules_version: Mapped[BigInt]
    """The version of the segment definitions that series and segments were computed with."""
    series: Mapped[JsonObject]
    reevaluate_at: Mapped[datetime | None]
    """When time alone may change their segments."""
    merged_into: Mapped[UUID | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Identity(Table):
    """Who holds an identity. Looked up by the identity, which has one owner."""

    identity_type: Mapped[TextKey]
    identity_value: Mapped[TextKey]
    customer_id: Mapped[UUID] = mapped_column(index=True)
    linked_by: Mapped[str | None]
    """The source of the link; null: not linked, or not known."""
    since: Mapped[datetime]


class IdentityClaim(Table):
    """An identity that somebody named as a customer's without proof."""

    customer_id: Mapped[IdKey]
    identity_type: Mapped[TextKey]
    identity_value: Mapped[TextKey]
    sender: Mapped[str]
    first_claimed_at: Mapped[datetime]
    last_claimed_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]


class IdentityChange(Table):
    """A merge or a refused attachment, as it happened."""

    customer_id: Mapped[IdKey]
    """Whose history it is part of now."""
    change_id: Mapped[IdKey]
    kind: Mapped[str]
    from_customer_id: Mapped[UUID]
    into_customer_id: Mapped[UUID]
    identities: Mapped[list[Any]]
    reason: Mapped[str]
    linked_by: Mapped[str | None]
    changed_at: Mapped[datetime]


class Trait(Table):
    """The latest value of a trait by the identity it came by and the class of who sent it."""

    customer_id: Mapped[IdKey]
    name: Mapped[TextKey]
    identity_type: Mapped[TextKey]
    identity_value: Mapped[TextKey]
    sender: Mapped[TextKey]
    value: Mapped[Any] = mapped_column(JSONB)
    kind: Mapped[str]
    context: Mapped[str]
    source: Mapped[str]
    lawful_basis: Mapped[str]
    observed_at: Mapped[datetime]


class Consent(Table):
    """The latest choice on a purpose by the identity it came by and the class of who sent it."""

    customer_id: Mapped[IdKey]
    purpose: Mapped[TextKey]
    identity_type: Mapped[TextKey]
    identity_value: Mapped[TextKey]
    sender: Mapped[TextKey]
    status: Mapped[str]
    lawful_basis: Mapped[str]
    source: Mapped[str]
    changed_at: Mapped[datetime]


class Event(Table):
    """Everything a customer did or said, as it was sent; a message id counts once by its sender."""

    __table_args__ = (sa.Index("event_in_time", "customer_id", "occurred_at", "event_id"),)

    customer_id: Mapped[IdKey]
    sender: Mapped[TextKey]
    message_id: Mapped[TextKey]
    event_id: Mapped[UUID]
    kind: Mapped[str]
    name: Mapped[str]
    occurred_at: Mapped[datetime]
    received_at: Mapped[datetime]
    properties: Mapped[JsonObject]
    context: Mapped[JsonObject]
    identity_type: Mapped[str]
    identity_value: Mapped[str]


class SetAside(Table):
    """A customer who could not be recomputed in the background, and when that is tried again."""

    customer_id: Mapped[IdKey]
    failures: Mapped[int]
    """In a row."""
    reason: Mapped[str]
    """The class of the last one."""
    retry_at: Mapped[datetime]


class SegmentMember(Table):
    """A customer is in a segment."""

    __table_args__ = (sa.Index("segment_member_by_segment", "segment_key", "customer_id"),)

    customer_id: Mapped[IdKey]
    segment_key: Mapped[TextKey]
    since: Mapped[datetime]


class Segment(Table):
    """A published definition; the highest version of a key is in force."""

    key: Mapped[TextKey]
    version: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    description: Mapped[str]
    condition: Mapped[str]
    published_at: Mapped[datetime]


class SeriesDeclaration(Table):
    """The series another service needs."""

    service: Mapped[TextKey]
    version: Mapped[BigInt]
    series: Mapped[list[Any]]
    grew_in: Mapped[BigInt] = mapped_column(server_default="0")
    """The last version that needed more."""


class SegmentDefinitions(Table):
    """What is computed for customers from a version on; the highest one is in force."""

    __tablename__ = "rulebook"

    version: Mapped[BigInt] = mapped_column(primary_key=True, autoincrement=False)
    series: Mapped[list[Any]]
    """Every series computed, so that a customer of this version need not be rebuilt in full."""
    made_at: Mapped[datetime]
    answers: Mapped[JsonObject] = mapped_column(server_default=sa.text("'{}'"))
    """Service to `grew_in` of the declaration that is part of it."""
