"""Keep what was relayed until it is heard; epochs, and resyncs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"

MOMENT = sa.DateTime(timezone=True)
NOW = sa.func.now()


def upgrade() -> None:
    """A default that is the same for all rows rewrites nothing; the rest is new."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("outbox", sa.Column("written_at", MOMENT, nullable=False, server_default=NOW))
    op.create_table(
        "relayed",
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.BigInteger, nullable=False),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("relayed_at", MOMENT, nullable=False, server_default=NOW),
    )
    op.create_table(
        "stream",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("created", MOMENT, nullable=False),
    )
    op.create_table(
        "epoch",
        sa.Column("one", sa.Boolean, sa.CheckConstraint("one"), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "resync",
        sa.Column("one", sa.Boolean, sa.CheckConstraint("one"), primary_key=True),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("source", sa.Text),
        sa.Column("after", JSONB),
        sa.Column("told", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("finished_at", MOMENT),
    )


def downgrade() -> None:
    """Forget it: what nobody has heard yet is lost with its stream again."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("resync", "epoch", "stream", "relayed"):
        op.drop_table(table)
    op.drop_column("outbox", "written_at")
