"""Keep who reported an outcome, and what untrusted reports have taught."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Columns whose defaults never change rewrite nothing; outcomes of before were believed."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("outcome", sa.Column("sender", sa.Text, nullable=False, server_default="server"))
    op.add_column("outcome", sa.Column("lessons", sa.SmallInteger))
    op.create_table(
        "untrusted_lesson",
        sa.Column("customer_id", sa.Uuid, primary_key=True),
        sa.Column("action", sa.Text, primary_key=True),
        sa.Column("lesson", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("last_day", sa.Date, nullable=False),
    )


def downgrade() -> None:
    """Forget it: what untrusted reports taught stays counted."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("untrusted_lesson")
    op.drop_column("outcome", "lessons")
    op.drop_column("outcome", "sender")
