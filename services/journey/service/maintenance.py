"""Work behind: what keeps tables small."""

import asyncio

from services.chassis.database import Database
from services.journey.store import tallies

EVERY_S = 60


async def keep_tallies_small(database: Database) -> None:
    """Once a minute, replace what was added to the counts by its sums."""
    while True:
        async with database.transaction() as connection:
            await tallies.compact(connection)
        await asyncio.sleep(EVERY_S)
