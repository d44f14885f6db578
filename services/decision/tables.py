"""The tables of decision. Keys of customer tables begin with the customer, look-ups with the key.

A decision has the identity it was requested by and the customer it was made for, as well as the
customer it belongs to now, so that a merge can be undone.
"""

from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.orm import declared_attr, registry
from sqlmodel import Field, SQLModel

from services.chassis import outbox
from services.contracts.trust import plain_name

MOMENT: Any = sa.DateTime(timezone=True)
TEXT: Any = sa.Text
BIGINT: Any = sa.BigInteger
SMALL: Any = sa.SmallInteger
BYTES: Any = sa.LargeBinary


class Table(SQLModel, registry=registry()):
    """Of this service's own metadata; a table is called as its class, in snake case."""

    @declared_attr.directive
    def __tablename__(cls) -> str:  # noqa: N805
        return plain_name(cls.__name__)


class CustomerSnapshot(Table, table=True):
    customer_id: UUID = Field(primary_key=True)
    version: int = Field(sa_type=BIGINT)
    facts: dict[str, Any] = Field(sa_type=JSON, nullable=False)
    """Traits, consents, segments and series; `json`, since it is only ever read whole."""


class Identity(Table, table=True):
    __table_args__ = (sa.Index("identity_by_customer", "customer_id"),)

    type: str = Field(primary_key=True, sa_type=TEXT)
    value: str = Field(primary_key=True, sa_type=TEXT)
    customer_id: UUID


class MergedCustomer(Table, table=True):
    """A merged customer and who they are now; never a chain."""

    __table_args__ = (sa.Index("merged_customer_by_customer", "customer_id"),)

    from_customer_id: UUID = Field(primary_key=True)
    customer_id: UUID


class JourneyState(Table, table=True):
    """Where an instance of a journey is. An ended one stays, to recognise late events of it."""

    customer_id: UUID = Field(primary_key=True)
    instance_id: UUID = Field(primary_key=True)
    journey: str = Field(sa_type=TEXT)
    key: str = Field(sa_type=TEXT)
    step: str = Field(sa_type=TEXT)
    phase: str | None = Field(sa_type=TEXT)
    sequence: int = Field(sa_type=BIGINT)
    ended: bool


class CatalogueVersion(Table, table=True):
    """A published catalogue; the one with the highest version is in force."""

    version: int = Field(
        primary_key=True, sa_type=BIGINT, sa_column_kwargs={"autoincrement": False}
    )
    source: str = Field(sa_type=TEXT)
    published_at: datetime = Field(sa_type=MOMENT)
    published_by: str = Field(sa_type=TEXT)
    declaration: dict[str, Any] = Field(
        sa_type=JSON,
        nullable=False,
        sa_column_kwargs={"server_default": sa.text("""'{"grew_in": 0, "series": []}'""")},
    )
    """The series it needs, and since when; `services.rules.Declaration` reads it."""


class Decision(Table, table=True):
    __table_args__ = (sa.Index("decision_by_id", "decision_id"),)

    customer_id: UUID = Field(primary_key=True)
    decision_id: UUID = Field(primary_key=True)
    decided_for: UUID
    identity_type: str | None = Field(sa_type=TEXT)
    identity_value: str | None = Field(sa_type=TEXT)
    decided_at: datetime = Field(sa_type=MOMENT)
    channel: str = Field(sa_type=TEXT)
    placement: str = Field(sa_type=TEXT)
    catalogue_version: int = Field(sa_type=BIGINT)
    snapshot_version: int | None = Field(sa_type=BIGINT)
    observations: int = Field(sa_type=BIGINT)
    degraded: str | None = Field(sa_type=TEXT)
    control_group: str | None = Field(sa_type=TEXT)
    propositions: list[dict[str, Any]] = Field(sa_type=JSON, nullable=False)
    record: bytes = Field(sa_type=BYTES)


class Outcome(Table, table=True):
    """What became of a proposition. Also the customer's contacts: policies count these rows."""

    __table_args__ = (
        sa.Index("outcome_by_moment", "customer_id", "happened_at"),
        sa.Index("outcome_by_decision", "decision_id"),
    )

    customer_id: UUID = Field(primary_key=True)
    outcome_id: UUID = Field(primary_key=True)
    decision_id: UUID
    rank: int = Field(sa_type=SMALL)
    action: str = Field(sa_type=TEXT)
    treatment: str = Field(sa_type=TEXT)
    channel: str = Field(sa_type=TEXT)
    placement: str = Field(sa_type=TEXT)
    kind: str = Field(sa_type=TEXT)
    first: bool
    """The first of its proposition, whatever its kind: it counts as the presentation."""
    happened_at: datetime = Field(sa_type=MOMENT)
    recorded_at: datetime = Field(sa_type=MOMENT)
    value_cents: int | None = Field(sa_type=BIGINT)
    currency: str | None = Field(sa_type=TEXT)
    reason: str | None = Field(sa_type=TEXT)
    sender: str = Field(sa_type=TEXT, sa_column_kwargs={"server_default": "server"})
    lessons: int | None = Field(sa_type=SMALL)


class UntrustedLesson(Table, table=True):
    """The last day on which browsers and apps taught something of a customer and an action."""

    customer_id: UUID = Field(primary_key=True)
    action: str = Field(primary_key=True, sa_type=TEXT)
    lesson: int = Field(primary_key=True, sa_type=SMALL, sa_column_kwargs={"autoincrement": False})
    last_day: date


class OutcomeKey(Table, table=True):
    key: str = Field(primary_key=True, sa_type=TEXT)
    outcome_id: UUID
    digest: bytes = Field(sa_type=BYTES)
    """Of the report."""


class ArmTally(Table, table=True):
    action: str = Field(primary_key=True, sa_type=TEXT)
    channel: str = Field(primary_key=True, sa_type=TEXT)
    treatment: str = Field(primary_key=True, sa_type=TEXT)
    presented: int = Field(sa_type=BIGINT)
    positives: int = Field(sa_type=BIGINT)


class ActionOffered(Table, table=True):
    action: str = Field(primary_key=True, sa_type=TEXT)
    last_offered: date


metadata = Table.metadata
outbox.tables(metadata)
