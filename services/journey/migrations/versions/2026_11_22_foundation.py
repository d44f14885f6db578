"""Make the tables of journey."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Everything is new: nothing is locked for long."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    _bus_tables()
    _definition_tables()
    _customer_tables()
    _run_indexes()


def _text(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, **{"nullable": False, **options})


def _at(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _bus_tables() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("event_id", sa.Uuid, nullable=False),
        _text("address"),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "inbox",
        _text("consumer", primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
    )


def _definition_tables() -> None:
    op.create_table(
        "definition",
        _text("key", primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("revision", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
        _text("source"),
        sa.Column("event_names", ARRAY(sa.Text), nullable=False),
        sa.Column("watches_customer", sa.Boolean, nullable=False),
        _at("published_at"),
        _text("published_by"),
    )
    op.create_table(
        "tally",
        sa.Column("tally_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        _text("journey"),
        sa.Column("version", sa.Integer, nullable=False),
        _text("step"),
        sa.Column("passed", sa.BigInteger, nullable=False),
        sa.Column("present", sa.BigInteger, nullable=False),
    )
    op.create_index("tally_by_step", "tally", ["journey", "version", "step"])


def _customer_tables() -> None:
    op.create_table(
        "customer",
        sa.Column("customer_id", sa.Uuid, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("snapshot", JSONB),
        _at("seen_at", nullable=True),
        sa.Column("merged_into", sa.Uuid),
    )
    op.create_table(
        "run",
        sa.Column("customer_id", sa.Uuid, primary_key=True),
        sa.Column("run_id", sa.Uuid, primary_key=True),
        sa.Column("first_customer_id", sa.Uuid, nullable=False),
        _text("journey"),
        sa.Column("version", sa.Integer, nullable=False),
        _text("key"),
        _text("step"),
        _text("phase", nullable=True),
        sa.Column("sequence", sa.Integer, nullable=False),
        _at("entered_at"),
        _at("since"),
        _at("began_at"),
        sa.Column("moved_by", sa.Uuid, nullable=False),
        sa.Column("event", JSONB, nullable=False),
        _at("due_at", nullable=True),
        _at("ended_at", nullable=True),
        _text("end_reason", nullable=True),
    )
    op.create_table(
        "step_taken",
        sa.Column("customer_id", sa.Uuid, primary_key=True),
        sa.Column("run_id", sa.Uuid, primary_key=True),
        sa.Column("sequence", sa.Integer, primary_key=True),
        _text("step"),
        _text("phase", nullable=True),
        _at("entered_at"),
        _text("note", nullable=True),
    )
    op.create_table(
        "message",
        sa.Column("customer_id", sa.Uuid, primary_key=True),
        sa.Column("message_id", sa.Uuid, primary_key=True),
        sa.Column("run_id", sa.Uuid, nullable=False),
        _text("journey"),
        _text("step"),
        _text("channel"),
        _text("template"),
        _text("purpose"),
        sa.Column("content", JSONB, nullable=False),
        _text("status"),
        _at("created_at"),
    )


def _run_indexes() -> None:
    active = sa.text("ended_at IS NULL")
    op.create_index(
        "run_active",
        "run",
        ["customer_id", "journey", "key"],
        unique=True,
        postgresql_where=active,
    )
    op.create_index("run_history", "run", ["customer_id", "journey", "key", "run_id"])
    op.create_index("run_by_id", "run", ["run_id"])
    op.create_index(
        "run_due",
        "run",
        ["due_at"],
        postgresql_where=sa.text("due_at IS NOT NULL AND ended_at IS NULL"),
    )
    op.create_index("run_versions", "run", ["journey", "version"], postgresql_where=active)


def downgrade() -> None:
    """Back to an empty database."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in (
        "message",
        "step_taken",
        "run",
        "customer",
        "tally",
        "definition",
        "inbox",
        "outbox",
    ):
        op.drop_table(table)
