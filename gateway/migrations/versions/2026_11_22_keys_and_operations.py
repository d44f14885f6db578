"""Make the tables of keys and of registered operations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Everything is new: nothing is locked for long."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "api_key",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("scopes", ARRAY(sa.Text)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(f"{what}_at", sa.DateTime(timezone=True)) for what in MAY_HAPPEN),
    )
    op.create_table(
        "registered_operation",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "change",
        sa.Column("of", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
    )


MAY_HAPPEN = ("expires", "revoked", "last_used")


def downgrade() -> None:
    """Drop all of it: every key must be made anew, every operation published again."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("change", "registered_operation", "api_key"):
        op.drop_table(table)
