"""The tables of measurement. Those that hold a person begin with the customer's id."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from services.chassis import outbox

MOMENT: Any = sa.DateTime(timezone=True)
TEXT: Any = sa.Text
BIGINT: Any = sa.BigInteger
SMALL: Any = sa.SmallInteger


class Table(SQLModel, registry=registry()):
    """Base of this service's tables."""


class Touchpoint(Table, table=True):
    """One contact with a customer; the key is also the order their touchpoints are read in."""

    __tablename__ = "touchpoint"

    customer_id: UUID = Field(primary_key=True)
    touched_at: datetime = Field(primary_key=True, sa_type=MOMENT)
    touchpoint_id: UUID = Field(primary_key=True)
    kind: str = Field(primary_key=True, sa_type=TEXT)
    recorded_for: UUID
    identity_key: UUID | None
    channel: str | None = Field(sa_type=TEXT)
    value_cents: int | None = Field(sa_type=BIGINT)
    currency: str | None = Field(sa_type=TEXT)
    detail: dict[str, Any] = Field(sa_type=JSONB, nullable=False)


class Proposition(Table, table=True):
    """A ranked action and what became of it.

    `happened` and `counted` are `OutcomeFlags`: what is known, and what of it the daily counts
    hold. Nothing is counted before the decision arrives, which says on which day.
    """

    __tablename__ = "proposition"

    customer_id: UUID = Field(primary_key=True)
    proposition_id: UUID = Field(primary_key=True)
    recorded_for: UUID
    decision_id: UUID
    action: str = Field(sa_type=TEXT)
    treatment: str = Field(sa_type=TEXT)
    channel: str = Field(sa_type=TEXT)
    placement: str = Field(sa_type=TEXT)
    decided_at: datetime | None = Field(sa_type=MOMENT)
    happened: int = Field(sa_type=SMALL)
    counted: int = Field(sa_type=SMALL)


class Outcome(Table, table=True):
    """One reported outcome. `counted`: its value is in the daily sums, or it has none."""

    __tablename__ = "outcome"

    customer_id: UUID = Field(primary_key=True)
    proposition_id: UUID = Field(primary_key=True)
    outcome_id: UUID = Field(primary_key=True)
    recorded_for: UUID
    kind: str = Field(sa_type=TEXT)
    happened_at: datetime = Field(sa_type=MOMENT)
    value_cents: int | None = Field(sa_type=BIGINT)
    currency: str | None = Field(sa_type=TEXT)
    counted: bool


class DailyCount(Table, table=True):
    """Of the propositions decided on a UTC day, how many each thing has happened to since."""

    __tablename__ = "daily_count"

    day: date = Field(primary_key=True)
    action: str = Field(primary_key=True, sa_type=TEXT)
    treatment: str = Field(primary_key=True, sa_type=TEXT)
    channel: str = Field(primary_key=True, sa_type=TEXT)
    placement: str = Field(primary_key=True, sa_type=TEXT)
    decided: int = Field(sa_type=BIGINT)
    presented: int = Field(sa_type=BIGINT)
    clicked: int = Field(sa_type=BIGINT)
    accepted: int = Field(sa_type=BIGINT)
    rejected: int = Field(sa_type=BIGINT)
    converted: int = Field(sa_type=BIGINT)
    dismissed: int = Field(sa_type=BIGINT)


class DailyValue(Table, table=True):
    """What the outcomes of the propositions decided on a UTC day were worth, per currency."""

    __tablename__ = "daily_value"

    day: date = Field(primary_key=True)
    action: str = Field(primary_key=True, sa_type=TEXT)
    treatment: str = Field(primary_key=True, sa_type=TEXT)
    channel: str = Field(primary_key=True, sa_type=TEXT)
    placement: str = Field(primary_key=True, sa_type=TEXT)
    kind: str = Field(primary_key=True, sa_type=TEXT)
    currency: str = Field(primary_key=True, sa_type=TEXT)
    cents: int = Field(sa_type=BIGINT)


class CustomerMerge(Table, table=True):
    """A customer who became another: `merged_into` by the event, `customer_id` as of now."""

    __tablename__ = "customer_merge"
    __table_args__ = (sa.Index("customer_merge_by_customer", "customer_id"),)

    from_customer_id: UUID = Field(primary_key=True)
    customer_id: UUID
    merged_into: UUID
    change_id: UUID
    merged_at: datetime = Field(sa_type=MOMENT)


class KnownIdentity(Table, table=True):
    """The customer of an identity, to know whether a caller asks about its own customer."""

    __tablename__ = "known_identity"
    __table_args__ = (sa.Index("known_identity_by_customer", "customer_id"),)

    identity_key: UUID = Field(primary_key=True)
    customer_id: UUID
    seen_at: datetime = Field(sa_type=MOMENT)


class Recount(Table, table=True):
    """The last proposition whose flags a recount under way has repaired; no row: there is none."""

    __tablename__ = "recount"

    one: bool = Field(primary_key=True, sa_column_args=[sa.CheckConstraint("one")])
    customer_id: UUID
    proposition_id: UUID


metadata = Table.metadata
outbox.tables(metadata)
