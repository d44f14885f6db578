"""Having services tell again what their databases hold, and waiting for it."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.instance import SERVICES, Instance
from services.chassis import epochs, resync
from services.chassis.database import Database, open_database
from services.chassis.errors import RaakError
from services.chassis.settings import ServiceSettings
from services.decision.settings import DecisionSettings
from services.journey.settings import JourneySettings
from services.measurement.settings import MeasurementSettings
from services.profile.settings import ProfileSettings

SETTINGS: dict[str, type[ServiceSettings]] = {
    settings.process: settings
    for settings in (ProfileSettings, DecisionSettings, JourneySettings, MeasurementSettings)
}
PATIENCE_S = 3.0
STILL_S = 10.0
"""So long without a step forward, and nobody works on it."""
LOOK_S = 0.2


class UnknownService(RaakError):
    """There is no service of this name."""

    code = "UNKNOWN_SERVICE"


class ResyncWaits(RaakError):
    """Nobody works on what was asked for."""

    code = "RESYNC_WAITS"


def addresses(data: Path) -> dict[str, str]:
    """Where each service's database is: by the environment if it says so, else an instance's."""
    named = {"database_url", "database_server_url"}
    settings = {name: SETTINGS[name]() for name in SERVICES}
    if all(named & one.model_fields_set for one in settings.values()):
        return {name: one.database for name, one in settings.items()}
    server = Instance.found(data).postgres_url
    return {name: f"{server}/raak_{name}" for name in SERVICES}


async def run(
    addresses: dict[str, str],
    services: Sequence[str],
    window: timedelta,
    tell: Callable[[str], None],
    *,
    is_restored: bool = False,
) -> None:
    """Ask services for a resync and return when it is done.

    With `is_restored` each begins a new epoch before, since its database is an older one.

    Raises:
        UnknownService: Nothing is asked of anybody.
        ResyncUnderWay: For one of them; nothing is asked of anybody.
        ResyncWaits: One does not work on it. It does as soon as it runs.
    """
    if unknown := set(services) - set(SERVICES):
        raise UnknownService(
            f"There is no service {sorted(unknown)[0]!r}.", hint=f"Take {', '.join(SERVICES)}."
        )
    async with AsyncExitStack() as stack:
        databases = {
            name: await stack.enter_async_context(
                open_database(addresses[name], connections=2, patience_s=PATIENCE_S)
            )
            for name in services or SERVICES
        }
        for name, database in databases.items():
            async with database.connection() as connection:
                await resync.check_free(connection, name)
        for database in databases.values():
            async with database.transaction() as connection:
                if is_restored:
                    await epochs.begin(connection)
                await resync.ask(connection, datetime.now(UTC) - window)
        for name, database in databases.items():
            told = await _finished(name, database)
            tell(f"{name} has told {told} events again.")


async def _finished(name: str, database: Database) -> int:
    loop = asyncio.get_running_loop()
    before, moved_at = None, loop.time()
    while True:
        async with database.connection() as connection:
            now = await resync.progress(connection)
        assert now is not None
        if now.finished_at is not None:
            return now.told
        if now != before:
            before, moved_at = now, loop.time()
        if loop.time() - moved_at > STILL_S:
            raise ResyncWaits(
                f"{name} has told {now.told} events again, and no more for {STILL_S:.0f} s.",
                hint=f"Look whether {name} runs: it goes on by itself.",
            )
        await asyncio.sleep(LOOK_S)
