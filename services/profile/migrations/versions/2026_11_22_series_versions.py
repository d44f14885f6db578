"""Remember which declarations of other services a rulebook answers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Defaults that never change rewrite nothing. Rulebooks of before answer none."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    grew_in = sa.Column("grew_in", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("series_declaration", grew_in)
    answers = sa.Column("answers", JSONB, nullable=False, server_default=sa.text("'{}'"))
    op.add_column("rulebook", answers)


def downgrade() -> None:
    """Forget it: histories not looked up yet are ones without events again."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("rulebook", "answers")
    op.drop_column("series_declaration", "grew_in")
