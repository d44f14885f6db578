"""The first tables of profile.

Makes everything anew; takes no lock on existing tables.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA, JSONB

revision = "0001"
down_revision = None

TABLES = (
    "customer",
    "identity",
    "identity_change",
    "trait",
    "consent",
    "event",
    "segment_member",
    "segment",
    "series_declaration",
    "rulebook",
    "outbox",
    "inbox",
)


def _text(name: str, *, key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=key, nullable=False)


def _id(name: str, *, key: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Uuid, primary_key=key, nullable=False)


def _at(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, JSONB, nullable=False)


def _number(name: str, *, key: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, primary_key=key, autoincrement=False, nullable=False)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _customers()
    _what_is_known()
    _events()
    _rules()
    _post()


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in TABLES:
        op.drop_table(table)


def _customers() -> None:
    op.create_table(
        "customer",
        _id("customer_id", key=True),
        _number("version"),
        _number("rules_version"),
        _json("series"),
        _at("reevaluate_at", nullable=True),
        sa.Column("merged_into", sa.Uuid),
        _at("created_at"),
        _at("updated_at"),
    )
    op.create_index(
        "customer_rules_version",
        "customer",
        ["rules_version"],
        postgresql_where=sa.text("merged_into IS NULL"),
    )
    op.create_index(
        "customer_reevaluate_at",
        "customer",
        ["reevaluate_at"],
        postgresql_where=sa.text("reevaluate_at IS NOT NULL"),
    )
    op.create_table(
        "identity",
        _text("identity_type", key=True),
        _text("identity_value", key=True),
        _id("customer_id"),
        _at("since"),
    )
    op.create_index("ix_identity_customer_id", "identity", ["customer_id"])
    op.create_table(
        "identity_change",
        _id("customer_id", key=True),
        _id("change_id", key=True),
        _text("kind"),
        _id("from_customer_id"),
        _id("into_customer_id"),
        _json("identities"),
        _text("reason"),
        _at("changed_at"),
    )


def _what_is_known() -> None:
    op.create_table(
        "trait",
        _id("customer_id", key=True),
        _text("name", key=True),
        _text("identity_type", key=True),
        _text("identity_value", key=True),
        _json("value"),
        _text("kind"),
        _text("context"),
        _text("source"),
        _text("lawful_basis"),
        _at("observed_at"),
    )
    op.create_table(
        "consent",
        _id("customer_id", key=True),
        _text("purpose", key=True),
        _text("identity_type", key=True),
        _text("identity_value", key=True),
        _text("status"),
        _text("lawful_basis"),
        _text("source"),
        _at("changed_at"),
    )
    op.create_table(
        "segment_member",
        _id("customer_id", key=True),
        _text("segment_key", key=True),
        _at("since"),
    )
    op.create_index("segment_member_by_segment", "segment_member", ["segment_key", "customer_id"])


def _events() -> None:
    op.create_table(
        "event",
        _id("customer_id", key=True),
        _text("message_id", key=True),
        _id("event_id"),
        _text("kind"),
        _text("name"),
        _at("occurred_at"),
        _at("received_at"),
        _json("properties"),
        _json("context"),
        _text("identity_type"),
        _text("identity_value"),
    )
    op.create_index("event_in_time", "event", ["customer_id", "occurred_at", "event_id"])


def _rules() -> None:
    op.create_table(
        "segment",
        _text("key", key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False, nullable=False),
        _text("name"),
        _text("description"),
        _text("condition"),
        _at("published_at"),
    )
    op.create_table(
        "series_declaration", _text("service", key=True), _number("version"), _json("series")
    )
    op.create_table("rulebook", _number("version", key=True), _json("series"), _at("made_at"))


def _post() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        _id("event_id"),
        _text("address"),
        sa.Column("body", BYTEA, nullable=False),
    )
    op.create_table("inbox", _text("consumer", key=True), _id("event_id", key=True))
