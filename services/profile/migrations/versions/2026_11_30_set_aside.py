"""Name customers who cannot be recomputed, so that they keep nobody else waiting."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """A new table."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "set_aside",
        sa.Column("customer_id", sa.Uuid, primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """They are tried with all others again."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("set_aside")
