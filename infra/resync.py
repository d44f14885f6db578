"""`raak resync`: have services publish again what their databases hold, and wait for it."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

from infra.databases import ProcessDatabase, open_process_database
from infra.processes import SERVICES
from services.chassis import epochs, resync
from services.chassis.database import Database
from services.chassis.errors import RaakError

STALLED_S = 10.0
"""Without progress for so long, no service works on it."""
POLL_S = 0.2


class UnknownService(RaakError, code="UNKNOWN_SERVICE"):
    """There is no service of this name."""


class ResyncStalled(RaakError, code="RESYNC_WAITS"):
    """A requested resync makes no progress."""


async def run(
    databases: Sequence[ProcessDatabase],
    services: Sequence[str],
    window: timedelta,
    report: Callable[[str], None],
    *,
    is_restored: bool = False,
) -> None:
    """Request a resync of services and wait for its end; `is_restored`: in a new epoch.

    Raises UnknownService or ResyncUnderWay before any request, and ResyncStalled when a service
    does not run.
    """
    if unknown := set(services) - set(SERVICES):
        raise UnknownService(
            f"There is no service {sorted(unknown)[0]!r}.", hint=f"Take {', '.join(SERVICES)}."
        )
    by_process = {one.process: one for one in databases}
    async with AsyncExitStack() as stack:
        opened = {
            name: await stack.enter_async_context(open_process_database(by_process[name]))
            for name in services or SERVICES
        }
        for name, database in opened.items():
            async with database.connection() as connection:
                await resync.check_not_running(connection, name)
        for database in opened.values():
            async with database.transaction() as connection:
                if is_restored:
                    await epochs.begin(connection)
                await resync.request_resync(connection, datetime.now(UTC) - window)
        for name, database in opened.items():
            events = await _wait_until_finished(name, database)
            report(f"{name} has published {events} events again.")


async def _wait_until_finished(name: str, database: Database) -> int:
    loop = asyncio.get_running_loop()
    before, moved_at = None, loop.time()
    while True:
        async with database.connection() as connection:
            now = await resync.progress(connection)
        assert now is not None
        if now.finished_at is not None:
            return now.events
        if now != before:
            before, moved_at = now, loop.time()
        if loop.time() - moved_at > STALLED_S:
            raise ResyncStalled(
                f"{name} has published {now.events} events again, and none for {STALLED_S:.0f} s.",
                hint=f"Look whether {name} runs: it goes on by itself.",
            )
        await asyncio.sleep(POLL_S)
