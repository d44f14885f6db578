"""The tables of the gateway: who may come in by a key, and which operations are registered."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

MOMENT: Any = sa.DateTime(timezone=True)
TEXT: Any = sa.Text
BIGINT: Any = sa.BigInteger
BYTES: Any = sa.LargeBinary
TEXTS: Any = ARRAY(sa.Text)


class Table(SQLModel, registry=registry()):
    """Of the gateway's own metadata."""


class ApiKey(Table, table=True):
    """A server's key; `digest` is keyed, so whoever reads this table holds no key."""

    __tablename__ = "api_key"

    key_id: str = Field(primary_key=True, sa_type=TEXT)
    digest: bytes = Field(sa_type=BYTES)
    name: str = Field(sa_type=TEXT)
    role: str = Field(sa_type=TEXT)
    scopes: list[str] | None = Field(sa_type=TEXTS)
    created_at: datetime = Field(sa_type=MOMENT)
    expires_at: datetime | None = Field(sa_type=MOMENT)
    revoked_at: datetime | None = Field(sa_type=MOMENT)
    last_used_at: datetime | None = Field(sa_type=MOMENT)


class RegisteredOperation(Table, table=True):
    """A document clients may send; `hash` is SHA-256 of its text, in hex."""

    __tablename__ = "registered_operation"

    hash: str = Field(primary_key=True, sa_type=TEXT)
    document: str = Field(sa_type=TEXT)
    source: str = Field(sa_type=TEXT)
    published_at: datetime = Field(sa_type=MOMENT)


class OperationId(Table, table=True):
    """What a manifest calls a registered document, besides its hash."""

    __tablename__ = "operation_id"

    id: str = Field(primary_key=True, sa_type=TEXT)
    hash: str = Field(
        sa_type=TEXT,
        index=True,
        foreign_key="registered_operation.hash",
        ondelete="CASCADE",
    )


class Change(Table, table=True):
    """How often a table was changed: what every replica looks at to know whether to read it."""

    __tablename__ = "change"

    of: str = Field(primary_key=True, sa_type=TEXT)
    version: int = Field(sa_type=BIGINT)


metadata = Table.metadata
