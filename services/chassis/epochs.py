"""Epochs: which life of its database a number was given in.

Other services compare the versions a service gives, and ignore the lower one. A database restored
from a backup gives numbers a second time, so each life begins an epoch, which others see in front
of a number: `stamp_number` in Python, `stamp_sql` in SQL. In the first epoch, 0, they are the same.
"""

import sqlalchemy as sa
from prometheus_client import Gauge

from services.chassis.database import Connection

BITS = 40
"""Of the number itself: more than anything is ever changed."""
NUMBER = (1 << BITS) - 1

EPOCH = Gauge("raak_epoch", "Which life of its database this process works in")

BASE = f"coalesce((SELECT max(number) << {BITS} FROM epoch), 0)"
"""SQL: the lowest stamp of this epoch."""
_CURRENT = "SELECT coalesce(max(number), 0) FROM epoch"
_BEGIN = """
INSERT INTO epoch (one, number) VALUES (true, $1)
ON CONFLICT (one) DO UPDATE SET number = greatest(epoch.number + 1, excluded.number)
RETURNING number
"""


def table(metadata: sa.MetaData) -> sa.Table:
    """Describe `epoch` in a service's metadata: one row, or none in the first epoch."""
    return sa.Table(
        "epoch",
        metadata,
        sa.Column("one", sa.Boolean, sa.CheckConstraint("one"), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )


def stamp_sql(column: str) -> str:
    """SQL: a number as others see it; one that has this epoch or a later one stays as it is."""
    return f"greatest({column}, {BASE} + ({column} & {NUMBER}))"


def stamp_number(number: int, epoch: int) -> int:
    """A number as others see it; one that has this epoch or a later one stays as it is."""
    return max(number, (epoch << BITS) + (number & NUMBER))


async def current(connection: Connection) -> int:
    number: int = await connection.fetchval(_CURRENT)
    EPOCH.set(number)
    return number


async def begin(connection: Connection, after: int = 0) -> int:
    """Begin an epoch that is later than the database's own and than `after`; gives its number."""
    number: int = await connection.fetchval(_BEGIN, after + 1)
    EPOCH.set(number)
    return number
