"""The tables of measurement. Those that hold a person begin with the customer's id."""

from datetime import date, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from services.chassis import outbox
from services.chassis.tables import BigInt, IdKey, JsonObject, SmallInt, TableBase, TextKey

metadata = sa.MetaData()
outbox.tables(metadata)


class Table(TableBase):
    __abstract__ = True
    metadata = metadata


class Touchpoint(Table):
    """One contact with a customer; the key is also the order their touchpoints are read in."""

    customer_id: Mapped[IdKey]
    touched_at: Mapped[datetime] = mapped_column(primary_key=True)
    touchpoint_id: Mapped[IdKey]
    kind: Mapped[TextKey]
    recorded_for: Mapped[UUID]
    identity_key: Mapped[UUID | None]
    channel: Mapped[str | None]
    value_cents: Mapped[BigInt | None]
    currency: Mapped[str | None]
    detail: Mapped[JsonObject]


class Proposition(Table):
    """A ranked action and what became of it.

    `happened` and `counted` are `OutcomeFlags`: what is known, and what of it the daily counts
    hold. Nothing is counted before the decision arrives, which says on which day.
    """

    customer_id: Mapped[IdKey]
    proposition_id: Mapped[IdKey]
    recorded_for: Mapped[UUID]
    decision_id: Mapped[UUID]
    action: Mapped[str]
    treatment: Mapped[str]
    channel: Mapped[str]
    placement: Mapped[str]
    decided_at: Mapped[datetime | None]
    happened: Mapped[SmallInt]
    counted: Mapped[SmallInt]


class Outcome(Table):
    """One reported outcome. `counted`: its value is in the daily sums, or it has none."""

    customer_id: Mapped[IdKey]
    proposition_id: Mapped[IdKey]
    outcome_id: Mapped[IdKey]
    recorded_for: Mapped[UUID]
    kind: Mapped[str]
    happened_at: Mapped[datetime]
    value_cents: Mapped[BigInt | None]
    currency: Mapped[str | None]
    counted: Mapped[bool]


class DailyCount(Table):
    """Of the propositions decided on a UTC day, how many each thing has happened to since."""

    day: Mapped[date] = mapped_column(primary_key=True)
    action: Mapped[TextKey]
    treatment: Mapped[TextKey]
    channel: Mapped[TextKey]
    placement: Mapped[TextKey]
    decided: Mapped[BigInt]
    presented: Mapped[BigInt]
    clicked: Mapped[BigInt]
    accepted: Mapped[BigInt]
    rejected: Mapped[BigInt]
    converted: Mapped[BigInt]
    dismissed: Mapped[BigInt]


class DailyValue(Table):
    """What the outcomes of the propositions decided on a UTC day were worth, per currency."""

    day: Mapped[date] = mapped_column(primary_key=True)
    action: Mapped[TextKey]
    treatment: Mapped[TextKey]
    channel: Mapped[TextKey]
    placement: Mapped[TextKey]
    kind: Mapped[TextKey]
    currency: Mapped[TextKey]
    cents: Mapped[BigInt]


class CustomerMerge(Table):
    """A customer who became another: `merged_into` by the event, `customer_id` as of now."""

    __table_args__ = (sa.Index("customer_merge_by_customer", "customer_id"),)

    from_customer_id: Mapped[IdKey]
    customer_id: Mapped[UUID]
    merged_into: Mapped[UUID]
    change_id: Mapped[UUID]
    merged_at: Mapped[datetime]


class KnownIdentity(Table):
    """The customer of an identity, to know whether a caller asks about its own customer."""

    __table_args__ = (sa.Index("known_identity_by_customer", "customer_id"),)

    identity_key: Mapped[IdKey]
    customer_id: Mapped[UUID]
    seen_at: Mapped[datetime]
