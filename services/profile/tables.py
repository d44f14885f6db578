"""The tables of profile. Keys of customer tables begin with the customer, look-ups with the key.

Events, traits and consents keep the identity they came by beside the customer they now belong
to, so that a merge can be undone.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from services.chassis import outbox


class Table(SQLModel, registry=registry()):
    """Base of this service's tables."""


def _at(nullable: bool = False, index: bool = False) -> Any:
    return Field(sa_column=sa.Column(sa.DateTime(timezone=True), nullable=nullable, index=index))


def _json() -> Any:
    return Field(sa_column=sa.Column(JSONB, nullable=False))


def _text(primary_key: bool = False) -> Any:
    return Field(sa_type=sa.Text, primary_key=primary_key)


class Customer(Table, table=True):
    """A customer and the state of their series; one merged away only names the survivor."""

    __tablename__ = "customer"
    __table_args__ = (
        sa.Index(
            "customer_rules_version",
            "rules_version",
            postgresql_where=sa.text("merged_into IS NULL"),
        ),
        sa.Index(
            "customer_reevaluate_at",
            "reevaluate_at",
            postgresql_where=sa.text("reevaluate_at IS NOT NULL"),
        ),
    )

    customer_id: UUID = Field(primary_key=True)
    version: int = Field(sa_type=sa.BigInteger)
    """Of their snapshot."""
    rules_version: int = Field(sa_type=sa.BigInteger)
    """The version of the segment definitions that series and segments were computed with."""
    series: dict[str, Any] = _json()
    reevaluate_at: datetime | None = _at(nullable=True)
    """When time alone may change their segments."""
    merged_into: UUID | None = None
    created_at: datetime = _at()
    updated_at: datetime = _at()


class Identity(Table, table=True):
    """Who holds an identity. Looked up by the identity, which has one owner."""

    __tablename__ = "identity"

    identity_type: str = _text(primary_key=True)
    identity_value: str = _text(primary_key=True)
    customer_id: UUID = Field(index=True)
    linked_by: str | None = Field(default=None, sa_type=sa.Text)
    """The source of the link; null: not linked, or not known."""
    since: datetime = _at()


class IdentityClaim(Table, table=True):
    """An identity that somebody named as a customer's without proof."""

    __tablename__ = "identity_claim"

    customer_id: UUID = Field(primary_key=True)
    identity_type: str = _text(primary_key=True)
    identity_value: str = _text(primary_key=True)
    sender: str = _text()
    first_claimed_at: datetime = _at()
    last_claimed_at: datetime = _at()
    confirmed_at: datetime | None = _at(nullable=True)


class IdentityChange(Table, table=True):
    """A merge or a refused attachment, as it happened."""

    __tablename__ = "identity_change"

    customer_id: UUID = Field(primary_key=True)
    """Whose history it is part of now."""
    change_id: UUID = Field(primary_key=True)
    kind: str = _text()
    from_customer_id: UUID
    into_customer_id: UUID
    identities: list[Any] = _json()
    reason: str = _text()
    linked_by: str | None = Field(default=None, sa_type=sa.Text)
    changed_at: datetime = _at()


class Trait(Table, table=True):
    """The latest value of a trait by the identity it came by and the class of who sent it."""

    __tablename__ = "trait"

    customer_id: UUID = Field(primary_key=True)
    name: str = _text(primary_key=True)
    identity_type: str = _text(primary_key=True)
    identity_value: str = _text(primary_key=True)
    sender: str = _text(primary_key=True)
    value: Any = _json()
    kind: str = _text()
    context: str = _text()
    source: str = _text()
    lawful_basis: str = _text()
    observed_at: datetime = _at()


class Consent(Table, table=True):
    """The latest choice on a purpose by the identity it came by and the class of who sent it."""

    __tablename__ = "consent"

    customer_id: UUID = Field(primary_key=True)
    purpose: str = _text(primary_key=True)
    identity_type: str = _text(primary_key=True)
    identity_value: str = _text(primary_key=True)
    sender: str = _text(primary_key=True)
    status: str = _text()
    lawful_basis: str = _text()
    source: str = _text()
    changed_at: datetime = _at()


class Event(Table, table=True):
    """Everything a customer did or said, as it was sent; a message id counts once by its sender."""

    __tablename__ = "event"
    __table_args__ = (sa.Index("event_in_time", "customer_id", "occurred_at", "event_id"),)

    customer_id: UUID = Field(primary_key=True)
    sender: str = _text(primary_key=True)
    message_id: str = _text(primary_key=True)
    event_id: UUID
    kind: str = _text()
    name: str = _text()
    occurred_at: datetime = _at()
    received_at: datetime = _at()
    properties: dict[str, Any] = _json()
    context: dict[str, Any] = _json()
    identity_type: str = _text()
    identity_value: str = _text()


class SetAside(Table, table=True):
    """A customer who could not be recomputed in the background, and when that is tried again."""

    __tablename__ = "set_aside"

    customer_id: UUID = Field(primary_key=True)
    failures: int
    """In a row."""
    reason: str = _text()
    """The class of the last one."""
    retry_at: datetime = _at()


class SegmentMember(Table, table=True):
    """A customer is in a segment."""

    __tablename__ = "segment_member"
    __table_args__ = (sa.Index("segment_member_by_segment", "segment_key", "customer_id"),)

    customer_id: UUID = Field(primary_key=True)
    segment_key: str = _text(primary_key=True)
    since: datetime = _at()


class Segment(Table, table=True):
    """A published definition; the highest version of a key is in force."""

    __tablename__ = "segment"

    key: str = _text(primary_key=True)
    version: int = Field(primary_key=True)
    name: str = _text()
    description: str = _text()
    condition: str = _text()
    published_at: datetime = _at()


class SeriesDeclaration(Table, table=True):
    """The series another service needs."""

    __tablename__ = "series_declaration"

    service: str = _text(primary_key=True)
    version: int = Field(sa_type=sa.BigInteger)
    series: list[Any] = _json()
    grew_in: int = Field(sa_type=sa.BigInteger, sa_column_kwargs={"server_default": "0"})
    """The last version that asked for more."""


class SegmentDefinitions(Table, table=True):
    """What is computed for customers from a version on; the highest one is in force."""

    __tablename__ = "rulebook"

    version: int = Field(sa_column=sa.Column(sa.BigInteger, primary_key=True, autoincrement=False))
    series: list[Any] = _json()
    """Every series computed, so that a customer of this version need not be rebuilt in full."""
    made_at: datetime = _at()
    answers: dict[str, int] = Field(
        sa_column=sa.Column(JSONB, nullable=False, server_default=sa.text("'{}'"))
    )
    """Service to `grew_in` of the declaration that is part of it."""


metadata = Table.metadata
outbox.tables(metadata)
