"""Where a recount of the daily results has come to."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "recount",
        sa.Column("one", sa.Boolean, sa.CheckConstraint("one"), primary_key=True),
        sa.Column("customer_id", sa.Uuid, nullable=False),
        sa.Column("proposition_id", sa.Uuid, nullable=False),
    )


def downgrade() -> None:
    """A recount under way begins anew."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("recount")
