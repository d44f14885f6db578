"""Background work that keeps tables small."""

import asyncio

from services.chassis.database import Database
from services.journey.store import tallies

EVERY_S = 60


async def compact_tallies(database: Database) -> None:
    """Once a minute, replace the rows of tallies by their sums."""
    while True:
        async with database.transaction() as connection:
            await tallies.compact(connection)
        await asyncio.sleep(EVERY_S)
