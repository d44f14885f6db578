"""Remember with a publication which histories journeys asked for, and since when."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"

NOTHING_ASKED = sa.text("""'{"grew_in": 0, "series": []}'""")


def upgrade() -> None:
    """A default that never changes rewrites nothing. Publications of before count as answered."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    declaration = sa.Column("declaration", JSONB, nullable=False, server_default=NOTHING_ASKED)
    op.add_column("definition", declaration)


def downgrade() -> None:
    """Forget it: a history not looked up yet is one without events again."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("definition", "declaration")
