"""Make the tables of decision."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Everything is new: nothing is locked for long."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    _bus_tables()
    _read_model()
    _catalogue()
    _decisions()


def _moment(name: str) -> "sa.Column[object]":
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def _text(name: str) -> "sa.Column[str]":
    return sa.Column(name, sa.Text, nullable=False)


def _uuid(name: str) -> "sa.Column[object]":
    return sa.Column(name, sa.Uuid, nullable=False)


def _number(name: str) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger, nullable=False)


def _bus_tables() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        _uuid("event_id"),
        _text("address"),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
    )


def _read_model() -> None:
    op.create_table(
        "customer_snapshot",
        sa.Column("customer_id", sa.Uuid, primary_key=True),
        _number("version"),
        sa.Column("facts", JSON, nullable=False),
    )
    op.create_table(
        "identity",
        sa.Column("type", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, primary_key=True),
        _uuid("customer_id"),
    )
    op.create_index("identity_by_customer", "identity", ["customer_id"])
    op.create_table(
        "merged_customer",
        sa.Column("from_customer_id", sa.Uuid, primary_key=True),
        _uuid("customer_id"),
    )
    op.create_index("merged_customer_by_customer", "merged_customer", ["customer_id"])
    op.create_table(
        "journey_state",
        sa.Column("customer_id", sa.Uuid, primary_key=True),
        sa.Column("instance_id", sa.Uuid, primary_key=True),
        *(_text(name) for name in ("journey", "key", "step")),
        sa.Column("phase", sa.Text),
        _number("sequence"),
        sa.Column("ended", sa.Boolean, nullable=False),
    )


def _catalogue() -> None:
    op.create_table(
        "catalogue_version",
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        _text("source"),
        _moment("published_at"),
        _text("published_by"),
    )
    op.create_table(
        "arm_tally",
        *(sa.Column(n, sa.Text, primary_key=True) for n in ("action", "channel", "treatment")),
        _number("presented"),
        _number("positives"),
    )
    op.create_table(
        "action_offered",
        sa.Column("action", sa.Text, primary_key=True),
        sa.Column("last_offered", sa.Date, nullable=False),
    )


def _decisions() -> None:
    op.create_table(
        "decision",
        sa.Column("customer_id", sa.Uuid, primary_key=True),
        sa.Column("decision_id", sa.Uuid, primary_key=True),
        _uuid("decided_for"),
        sa.Column("identity_type", sa.Text),
        sa.Column("identity_value", sa.Text),
        _moment("decided_at"),
        _text("channel"),
        _text("placement"),
        _number("catalogue_version"),
        sa.Column("snapshot_version", sa.BigInteger),
        _number("observations"),
        sa.Column("degraded", sa.Text),
        sa.Column("control_group", sa.Text),
        sa.Column("propositions", JSON, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
    )
    op.create_index("decision_by_id", "decision", ["decision_id"])
    op.create_table(
        "outcome",
        sa.Column("customer_id", sa.Uuid, primary_key=True),
        sa.Column("outcome_id", sa.Uuid, primary_key=True),
        _uuid("decision_id"),
        sa.Column("rank", sa.SmallInteger, nullable=False),
        *(_text(name) for name in ("action", "treatment", "channel", "placement", "kind")),
        sa.Column("first", sa.Boolean, nullable=False),
        _moment("happened_at"),
        _moment("recorded_at"),
        sa.Column("value_cents", sa.BigInteger),
        sa.Column("currency", sa.Text),
        sa.Column("reason", sa.Text),
    )
    op.create_index("outcome_by_moment", "outcome", ["customer_id", "happened_at"])
    op.create_index("outcome_by_decision", "outcome", ["decision_id"])
    op.create_table(
        "outcome_key",
        sa.Column("key", sa.Text, primary_key=True),
        _uuid("outcome_id"),
        sa.Column("digest", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Drop all of it: every decision, outcome and count."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in (
        "outcome_key", "outcome", "decision", "action_offered", "arm_tally", "catalogue_version",
        "journey_state", "merged_customer", "identity", "customer_snapshot", "inbox", "outbox",
    ):  # fmt: skip
        op.drop_table(table)
