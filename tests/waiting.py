"""Patience of tests: conditions instead of pauses, with ends that a busy machine does not reach."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable

import uvicorn

from services.chassis.database import Database

WITHIN_S = 60.0
LOOK_EVERY_S = 0.01

LOCK_WAITS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def until(
    holds: Callable[[], bool | Awaitable[bool]],
    within_s: float = WITHIN_S,
    every_s: float = LOOK_EVERY_S,
) -> None:
    """Return as soon as something holds; raises TimeoutError when it does not in time."""
    async with asyncio.timeout(within_s):
        while True:
            answer = holds()
            if await answer if isawaitable(answer) else answer:
                return
            await asyncio.sleep(every_s)


async def until_started(server: uvicorn.Server, task: asyncio.Task[None]) -> None:
    """Return as soon as a server listens that runs in a task of this event loop."""
    await until(lambda: server.started or task.done())
    assert server.started, "the server did not start"


async def until_blocked(database: Database) -> None:
    """Return as soon as somebody waits for a lock in a database."""

    async def is_blocked() -> bool:
        return bool(await database.pool.fetchval(LOCK_WAITS))

    await until(is_blocked)
