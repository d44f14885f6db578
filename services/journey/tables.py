"""The tables of journey. Keys of customer tables begin with the customer.

An instance (`run` in the database) keeps the customer it began with beside the one it now belongs
to, so that a merge can be undone.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from services.chassis import outbox


class Table(SQLModel, registry=registry()):
    """Base of this service's tables."""


def _at(nullable: bool = False) -> Any:
    return Field(sa_column=sa.Column(sa.DateTime(timezone=True), nullable=nullable))


def _json(nullable: bool = False) -> Any:
    return Field(sa_column=sa.Column(JSONB, nullable=nullable))


def _text(primary_key: bool = False) -> Any:
    return Field(sa_type=sa.Text, primary_key=primary_key)


def _maybe_text() -> Any:
    return Field(default=None, sa_type=sa.Text)


class JourneyDefinition(Table, table=True):
    """A published journey; the highest version of a key lets customers in."""

    __tablename__ = "definition"

    key: str = _text(primary_key=True)
    version: int = Field(primary_key=True)
    revision: int = Field(
        sa_column=sa.Column(sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True)
    )
    """Grows with every publication of any journey."""
    source: str = _text()
    """The YAML as it was published."""
    event_names: list[str] = Field(sa_column=sa.Column(ARRAY(sa.Text), nullable=False))
    """The events that trigger something in this version."""
    watches_customer: bool
    """Whether a changed snapshot, without an event, can move it."""
    published_at: datetime = _at()
    published_by: str = _text()
    declaration: dict[str, Any] = Field(
        sa_column=sa.Column(
            JSONB,
            nullable=False,
            server_default=sa.text("""'{"grew_in": 0, "series": []}'"""),
        )
    )
    """The series all journeys need from this publication on, and since which one;
    `services.rules.Declaration` reads it."""


class Customer(Table, table=True):
    """The latest snapshot of a customer, and whom they have become."""

    __tablename__ = "customer"

    customer_id: UUID = Field(primary_key=True)
    version: int = Field(sa_type=sa.BigInteger)
    """Of the snapshot; 0 before the first."""
    snapshot: dict[str, Any] | None = _json(nullable=True)
    seen_at: datetime | None = _at(nullable=True)
    """When the snapshot was received: the moment its conditions were decided."""
    merged_into: UUID | None = None


class Instance(Table, table=True):
    """One customer's instance of a journey."""

    __tablename__ = "run"
    __table_args__ = (
        sa.Index(
            "run_active",
            "customer_id",
            "journey",
            "key",
            unique=True,
            postgresql_where=sa.text("ended_at IS NULL"),
        ),
        sa.Index("run_history", "customer_id", "journey", "key", "run_id"),
        sa.Index("run_by_id", "run_id"),
        sa.Index(
            "run_due",
            "due_at",
            postgresql_where=sa.text("due_at IS NOT NULL AND ended_at IS NULL"),
        ),
        sa.Index(
            "run_versions",
            "journey",
            "version",
            postgresql_where=sa.text("ended_at IS NULL"),
        ),
    )

    customer_id: UUID = Field(primary_key=True)
    run_id: UUID = Field(primary_key=True)
    first_customer_id: UUID
    """The customer who entered, whoever they have become since."""
    journey: str = _text()
    version: int
    key: str = _text()
    step: str = _text()
    phase: str | None = _maybe_text()
    sequence: int
    entered_at: datetime = _at()
    since: datetime = _at()
    began_at: datetime = _at()
    moved_by: UUID
    event: dict[str, Any] = _json()
    due_at: datetime | None = _at(nullable=True)
    """The timer: claimed by a runner when its time has come."""
    ended_at: datetime | None = _at(nullable=True)
    end_reason: str | None = _maybe_text()


class StepRecord(Table, table=True):
    """A step an instance came to. Rows are only added."""

    __tablename__ = "step_taken"

    customer_id: UUID = Field(primary_key=True)
    run_id: UUID = Field(primary_key=True)
    sequence: int = Field(primary_key=True)
    step: str = _text()
    phase: str | None = _maybe_text()
    entered_at: datetime = _at()
    note: str | None = _maybe_text()


class Message(Table, table=True):
    """A message of a journey to a customer."""

    __tablename__ = "message"

    customer_id: UUID = Field(primary_key=True)
    message_id: UUID = Field(primary_key=True)
    run_id: UUID
    journey: str = _text()
    step: str = _text()
    channel: str = _text()
    template: str = _text()
    purpose: str = _text()
    content: dict[str, Any] = _json()
    status: str = _text()
    created_at: datetime = _at()


class StepTally(Table, table=True):
    """How many instances came to a step, and how many are there: sums of rows.

    A counter per step would be one row that every transaction waits to change; these rows are only
    added, and now and then replaced by their sums.
    """

    __tablename__ = "tally"
    __table_args__ = (sa.Index("tally_by_step", "journey", "version", "step"),)

    tally_id: int = Field(
        sa_column=sa.Column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    )
    journey: str = _text()
    version: int
    step: str = _text()
    passed: int = Field(sa_type=sa.BigInteger)
    present: int = Field(sa_type=sa.BigInteger)


metadata = Table.metadata
outbox.tables(metadata)
