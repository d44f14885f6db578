"""Make the tables of measurement."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

DIMENSIONS = ("action", "treatment", "channel", "placement")
COUNTS = ("decided", "presented", "clicked", "accepted", "rejected", "converted", "dismissed")


def upgrade() -> None:
    """Everything is new: nothing is locked for long."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    _bus_tables()
    _customer_tables()
    _daily_tables()
    _identity_tables()


def _bus_tables() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
    )


def _customer_tables() -> None:
    op.create_table(
        "touchpoint",
        sa.Column("customer_id", sa.Uuid, primary_key=True),
        sa.Column("touched_at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("touchpoint_id", sa.Uuid, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("recorded_for", sa.Uuid, nullable=False),
        sa.Column("identity_key", sa.Uuid),
        sa.Column("channel", sa.Text),
        sa.Column("value_cents", sa.BigInteger),
        sa.Column("currency", sa.Text),
        sa.Column("detail", JSONB, nullable=False),
    )
    op.create_table(
        "proposition",
        sa.Column("customer_id", sa.Uuid, primary_key=True),
        sa.Column("proposition_id", sa.Uuid, primary_key=True),
        sa.Column("recorded_for", sa.Uuid, nullable=False),
        sa.Column("decision_id", sa.Uuid, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in DIMENSIONS),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.Column("happened", sa.SmallInteger, nullable=False),
        sa.Column("counted", sa.SmallInteger, nullable=False),
    )
    op.create_table(
        "outcome",
        sa.Column("customer_id", sa.Uuid, primary_key=True),
        sa.Column("proposition_id", sa.Uuid, primary_key=True),
        sa.Column("outcome_id", sa.Uuid, primary_key=True),
        sa.Column("recorded_for", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("happened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("value_cents", sa.BigInteger),
        sa.Column("currency", sa.Text),
        sa.Column("counted", sa.Boolean, nullable=False),
    )


def _daily_tables() -> None:
    op.create_table(
        "daily_count",
        sa.Column("day", sa.Date, primary_key=True),
        *(sa.Column(name, sa.Text, primary_key=True) for name in DIMENSIONS),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in COUNTS),
    )
    op.create_table(
        "daily_value",
        sa.Column("day", sa.Date, primary_key=True),
        *(sa.Column(name, sa.Text, primary_key=True) for name in DIMENSIONS),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("currency", sa.Text, primary_key=True),
        sa.Column("cents", sa.BigInteger, nullable=False),
    )


def _identity_tables() -> None:
    op.create_table(
        "customer_merge",
        sa.Column("from_customer_id", sa.Uuid, primary_key=True),
        sa.Column("customer_id", sa.Uuid, nullable=False),
        sa.Column("merged_into", sa.Uuid, nullable=False),
        sa.Column("change_id", sa.Uuid, nullable=False),
        sa.Column("merged_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("customer_merge_by_customer", "customer_merge", ["customer_id"])
    op.create_table(
        "known_identity",
        sa.Column("identity_key", sa.Uuid, primary_key=True),
        sa.Column("customer_id", sa.Uuid, nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("known_identity_by_customer", "known_identity", ["customer_id"])


def downgrade() -> None:
    """Drop all of it, and all that was measured."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in (
        "known_identity", "customer_merge", "daily_value", "daily_count",
        "outcome", "proposition", "touchpoint", "inbox", "outbox",
    ):  # fmt: skip
        op.drop_table(table)
