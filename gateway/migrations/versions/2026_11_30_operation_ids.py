"""Make the table of the ids that manifests give registered operations."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """What is registered has no other id than its hash yet; whoever retires it forgets its ids."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "operation_id",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column(
            "hash",
            sa.Text,
            sa.ForeignKey("registered_operation.hash", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
    )


def downgrade() -> None:
    """Documents are found by their hash only."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("operation_id")
