"""The tables of journey. Keys of customer tables begin with the customer.

An instance (`run` in the database) keeps the customer it began with beside the one it now belongs
to, so that a merge can be undone.
"""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from services.chassis import outbox
from services.chassis.tables import BigInt, IdKey, JsonObject, TableBase, TextKey, partial_index

metadata = sa.MetaData()
outbox.tables(metadata)


ACTIVE = "ended_at IS NULL"


class Table(TableBase):
    __abstract__ = True
    metadata = metadata


class JourneyDefinition(Table):
    """A published journey; the highest version of a key lets customers in."""

    __tablename__ = "definition"

    key: Mapped[TextKey]
    version: Mapped[int] = mapped_column(primary_key=True)
    revision: Mapped[BigInt] = mapped_column(sa.Identity(always=True), unique=True)
    """Grows with every publication of any journey."""
    source: Mapped[str]
    """The YAML as it was published."""
    event_names: Mapped[list[str]]
    """The events that trigger something in this version."""
    watches_customer: Mapped[bool]
    """Whether a changed snapshot, without an event, can move it."""
    published_at: Mapped[datetime]
    published_by: Mapped[str]
    declaration: Mapped[JsonObject] = mapped_column(
        server_default=sa.text("""'{"grew_in": 0, "series": []}'""")
    )
    """The series all journeys need from this publication on, and since which one;
    `services.rules.Declaration` reads it."""


class Customer(Table):
    """The latest snapshot of a customer, and whom they have become."""

    customer_id: Mapped[IdKey]
    version: Mapped[BigInt]
    """Of the snapshot; 0 before the first."""
    snapshot: Mapped[JsonObject | None]
    seen_at: Mapped[datetime | None]
    """When the snapshot was received: the moment its conditions were decided."""
    merged_into: Mapped[UUID | None]


class Instance(Table):
    """One customer's instance of a journey."""

    __tablename__ = "run"
    __table_args__ = (
        partial_index("run_active", "customer_id", "journey", "key", unique=True, where=ACTIVE),
        sa.Index("run_history", "customer_id", "journey", "key", "run_id"),
        sa.Index("run_by_id", "run_id"),
        partial_index("run_due", "due_at", where=f"due_at IS NOT NULL AND {ACTIVE}"),
        partial_index("run_versions", "journey", "version", where=ACTIVE),
    )

    customer_id: Mapped[IdKey]
    run_id: Mapped[IdKey]
    first_customer_id: Mapped[UUID]
    """The customer who entered; a merge may have made it another's since."""
    journey: Mapped[str]
    version: Mapped[int]
    key: Mapped[str]
    step: Mapped[str]
    phase: Mapped[str | None]
    sequence: Mapped[int]
    entered_at: Mapped[datetime]
    since: Mapped[datetime]
    began_at: Mapped[datetime]
    moved_by: Mapped[UUID]
    event: Mapped[JsonObject]
    due_at: Mapped[datetime | None]
    """The timer: claimed by a runner when its time has come."""
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[str | None]


class StepRecord(Table):
    """A step an instance came to. Rows are only added."""

    __tablename__ = "step_taken"

    customer_id: Mapped[IdKey]
    run_id: Mapped[IdKey]
    sequence: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[str]
    phase: Mapped[str | None]
    entered_at: Mapped[datetime]
    note: Mapped[str | None]


class Message(Table):
    """A message of a journey to a customer."""

    customer_id: Mapped[IdKey]
    message_id: Mapped[IdKey]
    run_id: Mapped[UUID]
    journey: Mapped[str]
    step: Mapped[str]
    channel: Mapped[str]
    template: Mapped[str]
    purpose: Mapped[str]
    content: Mapped[JsonObject]
    status: Mapped[str]
    created_at: Mapped[datetime]


class StepTally(Table):
    """How many instances came to a step, and how many are there: sums of rows.

    A counter per step would be one row that every transaction waits to change; these rows are only
    added, and now and then replaced by their sums.
    """

    __tablename__ = "tally"
    __table_args__ = (sa.Index("tally_by_step", "journey", "version", "step"),)

    tally_id: Mapped[BigInt] = mapped_column(sa.Identity(always=True), primary_key=True)
    journey: Mapped[str]
    version: Mapped[int]
    step: Mapped[str]
    passed: Mapped[BigInt]
    present: Mapped[BigInt]
